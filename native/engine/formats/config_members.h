// Typed reading of a configuration's members.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "engine/formats/errors.h"
#include "engine/formats/json.h"

namespace longshore {

// Reads typed members of one object; null counts as absent; remembers the first error so that callers check once.
class Members {
 public:
  Members(const JsonValue& object, const char* file) : object_(object), file_(file) {}

  const Status& status() const { return status_; }

  std::optional<uint32_t> Count(std::string_view key) {
    const JsonValue* value = object_.FindNonNull(key);
    if (value == nullptr) return std::nullopt;
    const std::optional<double> number = value->number();  // some files write counts as 4096.0
    if (!number || *number < 0 || *number > std::numeric_limits<uint32_t>::max() || *number != std::floor(*number)) {
      Fail(key, "is not a count");
      return std::nullopt;
    }
    return static_cast<uint32_t>(*number);
  }

  uint32_t RequireCount(std::string_view key) {
    const auto value = Count(key);
    if (!value) Fail(key, "is missing");
    return value.value_or(0);
  }

  std::optional<double> Number(std::string_view key) {
    const JsonValue* value = object_.FindNonNull(key);
    if (value == nullptr) return std::nullopt;
    if (!value->number()) Fail(key, "is not a number");
    return value->number();
  }

  double RequireNumber(std::string_view key) {
    const auto value = Number(key);
    if (!value) Fail(key, "is missing");
    return value.value_or(0.0);
  }

  bool Flag(std::string_view key, bool absent) {
    const JsonValue* value = object_.FindNonNull(key);
    if (value == nullptr) return absent;
    if (value->boolean() == nullptr) Fail(key, "is neither true nor false");
    return value->boolean() != nullptr && *value->boolean();
  }

  std::string Text(std::string_view key) {
    const JsonValue* value = object_.FindNonNull(key);
    if (value == nullptr) return "";
    if (value->string() == nullptr) Fail(key, "is not a string");
    return value->string() != nullptr ? *value->string() : "";
  }

 private:
  void Fail(std::string_view key, const char* what) {
    if (status_.ok()) status_ = Corrupt(std::string(file_) + ": " + std::string(key) + " " + what);
  }

  const JsonValue& object_;
  const char* file_;
  Status status_;
};

}  // namespace longshore
