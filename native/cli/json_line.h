// Writes one flat JSON object on one line of standard output.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace longshore::cli {

class JsonLine {
 public:
  JsonLine& Add(std::string_view key, std::string_view text);
  JsonLine& Add(std::string_view key, const char* text) { return Add(key, std::string_view(text)); }
  JsonLine& Add(std::string_view key, uint64_t number);
  JsonLine& Add(std::string_view key, int number) { return Add(key, static_cast<uint64_t>(number)); }
  JsonLine& Add(std::string_view key, uint32_t number) { return Add(key, uint64_t{number}); }
  // With `decimals` digits after the point.
  JsonLine& Add(std::string_view key, double number, int decimals);
  JsonLine& Add(std::string_view key, std::span<const uint32_t> numbers);
  void Print() const;

 private:
  void Key(std::string_view key);
  void Quote(std::string_view text);
  std::string text_ = "{";
};

}  // namespace longshore::cli
