// Row loops of the lossless codec (codec_rows.h). T is uint16_t (bf16) or uint32_t (f32's bits).
#pragma once

#include "engine/kv/codec_element.inl.h"

namespace {

// The upper half of an element, which is a bf16.
template <typename T>
inline uint16_t UpperHalf(const uint8_t* p) {
  return static_cast<uint16_t>(Load<T>(p) >> (8 * sizeof(T) - 16));
}

template <typename T>
void LargestExponents(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, uint8_t* __restrict bases) {
  for (uint32_t c = 0; c < channels; c++) bases[c] = 0;
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T)) {
    for (uint32_t c = 0; c < channels; c++) {
      const auto exponent = static_cast<uint8_t>(UpperHalf<T>(rows + c * sizeof(T)) >> 7);
      bases[c] = exponent > bases[c] ? exponent : bases[c];
    }
  }
}

template <typename T>
void Split(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, const uint8_t* __restrict bases, uint8_t* __restrict steps,
           uint8_t* __restrict rest, uint8_t* __restrict low) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), steps += channels, rest += channels) {
    for (uint32_t c = 0; c < channels; c++) {
      const uint16_t upper = UpperHalf<T>(rows + c * sizeof(T));
      const auto step = static_cast<uint8_t>(bases[c] - static_cast<uint8_t>(upper >> 7));
      steps[c] = step < 15 ? step : 15;
      rest[c] = static_cast<uint8_t>((upper >> 8 & 0x80) | (upper & 0x7f));
    }
    if constexpr (sizeof(T) == 4) {
      for (uint32_t c = 0; c < channels; c++) Store<uint16_t>(low + c * sizeof(uint16_t), static_cast<uint16_t>(Load<T>(rows + c * sizeof(T))));
      low += channels * sizeof(uint16_t);
    }
  }
}

template <typename T>
void Merge(const uint8_t* __restrict steps, const uint8_t* __restrict rest, const uint8_t* __restrict low, uint32_t tokens, uint32_t channels,
           const uint8_t* __restrict bases, uint8_t* __restrict rows) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), steps += channels, rest += channels) {
    for (uint32_t c = 0; c < channels; c++) {
      const auto exponent = static_cast<uint8_t>(bases[c] - steps[c]);
      const auto upper = static_cast<uint16_t>((rest[c] & 0x80) << 8 | exponent << 7 | (rest[c] & 0x7f));
      if constexpr (sizeof(T) == 2) Store<uint16_t>(rows + c * sizeof(T), upper);
      else Store<uint32_t>(rows + c * sizeof(T), uint32_t{upper} << 16 | Load<uint16_t>(low + c * sizeof(uint16_t)));
    }
    if constexpr (sizeof(T) == 4) low += channels * sizeof(uint16_t);
  }
}

void PackNibbles(const uint8_t* __restrict nibbles, size_t count, uint8_t* __restrict pairs) {
  for (size_t i = 0; i < count / 2; i++) {
    const uint16_t two = Load<uint16_t>(nibbles + 2 * i);
    pairs[i] = static_cast<uint8_t>(two | two >> 4);
  }
  if (count % 2 != 0) pairs[count / 2] = nibbles[count - 1];
}

void UnpackNibbles(const uint8_t* __restrict pairs, size_t count, uint8_t* __restrict nibbles) {
  for (size_t i = 0; i < count / 2; i++) {
    Store<uint16_t>(nibbles + 2 * i, static_cast<uint16_t>((pairs[i] | pairs[i] << 4) & 0x0f0f));
  }
  if (count % 2 != 0) nibbles[count - 1] = pairs[count / 2] & 15;
}

}  // namespace
