#include "engine/kv/crc32.h"

#include <random>
#include <string_view>
#include <vector>

#include "test/check.h"

namespace longshore {
namespace {

// One bit at a time, from the definition.
uint32_t Bitwise(std::span<const uint8_t> bytes) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
  }
  return ~crc;
}

TEST(gives_the_published_check_value) {
  constexpr std::string_view kCheck = "123456789";
  CHECK_EQ(Crc32({reinterpret_cast<const uint8_t*>(kCheck.data()), kCheck.size()}), 0xcbf43926u);
}

TEST(equals_the_definition_at_every_length_and_alignment) {
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(700);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t length = 0; length < 600; length++) {
    const auto part = std::span<const uint8_t>(bytes).subspan(length % 17, length);
    CHECK_EQ(Crc32(part), Bitwise(part));
  }
}

TEST(continues_from_any_split) {
  std::vector<uint8_t> bytes(400);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i * 37);
  const auto all = std::span<const uint8_t>(bytes);
  for (size_t split = 0; split <= bytes.size(); split += 13) CHECK_EQ(Crc32(all.subspan(split), Crc32(all.first(split))), Bitwise(all));
}

}  // namespace
}  // namespace longshore

TEST_MAIN
