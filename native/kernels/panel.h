// Packed weight matrices: the layouts that the product kernels read.
//
// A matrix of N outputs and K inputs is cut into panels of 16 outputs (the last one padded with zeros), one output per SIMD lane.
//
// Quantized panels hold w = scale * (q - offset), or w = scale * q + minimum, with unsigned bytes or nibbles q, in groups of
// G inputs (32, or 16 for Q6_K), group after group:
//   q        7 or 8 bits: [G/4][16 outputs][4 inputs] bytes.  4 bits: [G/8][16][4] bytes; a byte of row j holds input 4j+i in its low
//            nibble and input 4j+i + G/2 in its high one.
//   scales   [16] f16 or f32
//   minimums [16] f16 or f32, only where the format has them
// Float panels are [K][16] of f32, f16 or bf16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::kernels {

constexpr uint32_t kPanelOutputs = 16;

struct QuantFormat {
  uint32_t bits;         // 4, 7 or 8; 7: bytes below 128, which AVX2 multiplies faster
  uint32_t group;        // inputs per scale: 16 or 32
  uint32_t scale_bytes;  // 2: f16, 4: f32
  bool has_minimum;      // else `offset` is subtracted from q
  int32_t offset;

  constexpr size_t quant_bytes() const { return size_t{kPanelOutputs} * group / (bits == 4 ? 2 : 1); }
  constexpr size_t group_bytes() const { return quant_bytes() + size_t{kPanelOutputs} * scale_bytes * (has_minimum ? 2 : 1); }
};

// Where the 4 bits or the byte of (output lane, input k of the group) go: writes q into a zeroed group.
inline void PutQuant(const QuantFormat& f, uint8_t* group, uint32_t lane, uint32_t k, uint8_t q) {
  if (f.bits != 4) {
    group[(k / 4 * kPanelOutputs + lane) * 4 + k % 4] = q;
    return;
  }
  const uint32_t half = f.group / 2, low = k % half;
  uint8_t& byte = group[(low / 4 * kPanelOutputs + lane) * 4 + low % 4];
  byte = static_cast<uint8_t>(k < half ? byte | q : byte | q << 4);
}

inline uint8_t GetQuant(const QuantFormat& f, const uint8_t* group, uint32_t lane, uint32_t k) {
  if (f.bits != 4) return group[(k / 4 * kPanelOutputs + lane) * 4 + k % 4];
  const uint32_t half = f.group / 2, low = k % half;
  const uint8_t byte = group[(low / 4 * kPanelOutputs + lane) * 4 + low % 4];
  return k < half ? byte & 15 : byte >> 4;
}

}  // namespace longshore::kernels
