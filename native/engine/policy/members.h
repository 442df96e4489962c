// The members of one policy object, typed and checked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/formats/json.h"

namespace longshore {

// Reads the members of one object; remembers the first fault.
class Members {
 public:
  static constexpr uint32_t kMaxTokens = 1u << 24;

  Members(const JsonValue& value, const std::string& where) : value_(value), where_(where) {}

  uint32_t Count(const char* name, uint32_t least, std::optional<uint32_t> fallback = {}) {
    seen_.emplace_back(name);
    const JsonValue* v = value_.Find(name);
    if (!v && fallback) return *fallback;
    const int64_t* n = v ? v->integer() : nullptr;
    if (!n || *n < least || *n > kMaxTokens)
      return Fail(name, "an integer from " + std::to_string(least) + " to " + std::to_string(kMaxTokens)), 0u;
    return static_cast<uint32_t>(*n);
  }
  // In [0, 1]; absent: `fallback`, and where that is less than 0 an error.
  float Share(const char* name, float fallback) {
    seen_.emplace_back(name);
    const JsonValue* v = value_.Find(name);
    if (!v && fallback >= 0.f) return fallback;
    const std::optional<double> x = v ? v->number() : std::nullopt;
    if (!x || !(*x >= 0.0 && *x <= 1.0)) return Fail(name, "a number from 0 to 1"), 0.f;
    return static_cast<float>(*x);
  }
  bool Switch(const char* name) {
    seen_.emplace_back(name);
    const JsonValue* v = value_.Find(name);
    if (v && !v->boolean()) return Fail(name, "true or false"), false;
    return v && *v->boolean();
  }
  Status Finish() const {
    if (!status_.ok()) return status_;
    for (const auto& [key, unused] : *value_.object()) {
      bool known = key == "type";
      for (const std::string& name : seen_) known = known || name == key;
      if (!known) return {Code::kUnsupported, where_ + " has a member '" + key + "' that its type does not know"};
    }
    return Status::Ok();
  }

 private:
  void Fail(const char* name, const std::string& expected) {
    if (status_.ok()) status_ = {Code::kCorrupt, where_ + "." + name + " must be " + expected};
  }
  const JsonValue& value_;
  const std::string& where_;
  std::vector<std::string> seen_;
  Status status_;
};

}  // namespace longshore
