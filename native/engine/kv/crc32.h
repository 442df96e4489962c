// zlib's CRC-32 (reflected polynomial 0xedb88320).
#pragma once

#include <cstdint>
#include <span>

namespace longshore {

// Continues from `crc`, the value for the bytes before; 0 to start.
uint32_t Crc32(std::span<const uint8_t> bytes, uint32_t crc = 0);

}  // namespace longshore
