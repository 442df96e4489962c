#include "engine/kv/crc32.h"

#include <array>
#include <cstring>

namespace longshore {
namespace {

// kTables[k][b]: the effect of byte b that is followed by k more bytes ("slicing by 8", Kounavis and Berry 2005).
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t value = b;
    for (int bit = 0; bit < 8; bit++) value = (value & 1) ? 0xedb88320u ^ (value >> 1) : value >> 1;
    tables[0][b] = value;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t b = 0; b < 256; b++) tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 255];
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint32_t LoadLittleEndian(const uint8_t* p) {
  return uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

}  // namespace

uint32_t Crc32(std::span<const uint8_t> bytes, uint32_t crc) {
  static const bool folds = internal::Crc32Folds();
  crc = ~crc;
  const uint8_t* p = bytes.data();
  size_t left = bytes.size();
  if (folds && left >= internal::kCrc32FoldMinimum) {
    const size_t folded = left & ~size_t{15};
    crc = internal::Crc32Fold(crc, p, folded);
    p += folded;
    left -= folded;
  }
  for (; left >= 8; left -= 8, p += 8) {
    const uint32_t a = LoadLittleEndian(p) ^ crc;
    const uint32_t b = LoadLittleEndian(p + 4);
    crc = kTables[7][a & 255] ^ kTables[6][(a >> 8) & 255] ^ kTables[5][(a >> 16) & 255] ^ kTables[4][a >> 24] ^
          kTables[3][b & 255] ^ kTables[2][(b >> 8) & 255] ^ kTables[1][(b >> 16) & 255] ^ kTables[0][b >> 24];
  }
  for (; left > 0; left--, p++) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 255];
  return ~crc;
}

}  // namespace longshore
