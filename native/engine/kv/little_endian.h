// Integers of the stored format, which is little-endian on every machine.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace longshore {

inline uint32_t LoadU32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return std::endian::native == std::endian::big ? __builtin_bswap32(value) : value;
}

inline void StoreU32(uint8_t* p, uint32_t value) {
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap32(value);
  std::memcpy(p, &value, 4);
}

inline uint64_t LoadU64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return std::endian::native == std::endian::big ? __builtin_bswap64(value) : value;
}

inline void StoreU64(uint8_t* p, uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
  std::memcpy(p, &value, 8);
}

}  // namespace longshore
