#include "cli/json_line.h"

#include <cmath>
#include <cstdio>

namespace longshore::cli {

void JsonLine::Quote(std::string_view text) {
  text_ += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      text_ += escape;
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

void JsonLine::Key(std::string_view key) {
  if (text_.size() > 1) text_ += ',';
  Quote(key);
  text_ += ':';
}

JsonLine& JsonLine::Add(std::string_view key, std::string_view text) {
  Key(key);
  Quote(text);
  return *this;
}

JsonLine& JsonLine::Add(std::string_view key, uint64_t number) {
  Key(key);
  text_ += std::to_string(number);
  return *this;
}

JsonLine& JsonLine::Add(std::string_view key, double number, int decimals) {
  Key(key);
  char digits[64];
  std::snprintf(digits, sizeof(digits), "%.*f", decimals, number);
  text_ += std::isfinite(number) ? digits : "null";
  return *this;
}

JsonLine& JsonLine::Add(std::string_view key, std::span<const uint32_t> numbers) {
  Key(key);
  text_ += '[';
  for (size_t i = 0; i < numbers.size(); i++) {
    if (i > 0) text_ += ',';
    text_ += std::to_string(numbers[i]);
  }
  text_ += ']';
  return *this;
}

void JsonLine::Print() const {
  std::printf("%s}\n", text_.c_str());
  std::fflush(stdout);
}

}  // namespace longshore::cli
