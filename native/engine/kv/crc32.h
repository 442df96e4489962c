// zlib's CRC-32 (reflected polynomial 0xedb88320).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace longshore {

// Continues from `crc`, the value for the bytes before; 0 to start.
uint32_t Crc32(std::span<const uint8_t> bytes, uint32_t crc = 0);

namespace internal {
// The same by carry-less multiplication, where the CPU has it. `state`: complemented CRC, before and after; `bytes`: a multiple of 16,
// at least the minimum.
constexpr size_t kCrc32FoldMinimum = 64;
bool Crc32Folds();
uint32_t Crc32Fold(uint32_t state, const uint8_t* data, size_t bytes);
}  // namespace internal

}  // namespace longshore
