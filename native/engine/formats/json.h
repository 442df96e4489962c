// A small strict JSON reader (RFC 8259) for configuration files and safetensors headers.
//
// Bounds: kMaxJsonBytes of text, kMaxJsonValues values, kMaxJsonDepth levels; a parsed document takes at most about 130 MB
// (128 bytes per value, vector growth included) plus the text of its strings. Duplicate keys are refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/status.h"

namespace longshore {

constexpr size_t kMaxJsonBytes = 32u << 20;
constexpr size_t kMaxJsonValues = 1u << 20;
constexpr int kMaxJsonDepth = 64;

class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;  // sorted by key, unique

  JsonValue() = default;
  template <typename T>
  explicit JsonValue(T value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  // Pointers into this value, nullptr when it is of another type. A number without fraction or exponent that fits is an int64.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  // Integers too.
  std::optional<double> number() const;
  // Member of an object; nullptr when absent or when this is no object.
  const JsonValue* Find(std::string_view key) const;
  // Like Find, but a member whose value is null counts as absent.
  const JsonValue* FindNonNull(std::string_view key) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

// Errors: kCorrupt with the byte offset of the first fault, kUnsupported beyond a bound.
Result<JsonValue> ParseJson(std::string_view text);

}  // namespace longshore
