// Row loops of the int4 codec (codec_rows.h). T is uint16_t (bf16 bits) or float.
#pragma once

#include "engine/kv/codec_element.inl.h"

namespace {

// Integers in the order of the floats, NaNs outside the infinities: maxima of integers keep a NaN, those of floats lose it. Its own inverse.
inline int32_t Ordered(int32_t bits) { return bits ^ (bits >> 31 & 0x7fffffff); }

template <typename T>
void ChannelRanges(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, float* __restrict least, float* __restrict most) {
  for (uint32_t c = 0; c < channels; c++) {
    least[c] = FloatOfBits(0x7fffffffu);
    most[c] = FloatOfBits(0x80000000u);
  }
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T)) {
    for (uint32_t c = 0; c < channels; c++) {
      const int32_t x = Ordered(static_cast<int32_t>(BitsOfFloat(LoadElement<T>(rows + c * sizeof(T)))));
      const auto low = static_cast<int32_t>(BitsOfFloat(least[c])), high = static_cast<int32_t>(BitsOfFloat(most[c]));
      least[c] = FloatOfBits(static_cast<uint32_t>(x < low ? x : low));
      most[c] = FloatOfBits(static_cast<uint32_t>(x > high ? x : high));
    }
  }
  for (uint32_t c = 0; c < channels; c++) {
    least[c] = FloatOfBits(static_cast<uint32_t>(Ordered(static_cast<int32_t>(BitsOfFloat(least[c])))));
    most[c] = FloatOfBits(static_cast<uint32_t>(Ordered(static_cast<int32_t>(BitsOfFloat(most[c])))));
  }
}

template <typename T>
void TokenMagnitudes(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, float* __restrict most) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T)) {
    // As bits: the order of magnitudes is theirs, and a NaN is above all.
    uint32_t max = 0;
    for (uint32_t c = 0; c < channels; c++) {
      const uint32_t bits = BitsOfFloat(Magnitude(LoadElement<T>(rows + c * sizeof(T))));
      max = bits > max ? bits : max;
    }
    most[t] = FloatOfBits(max);
  }
}

// y rounded half to even and kept within [low, high], as an unsigned code.
inline uint8_t CodeOf(float y, float low, float high, uint32_t bias) {
  constexpr float kMagic = 0x1.8p23f;
  y = y > low ? y : low;
  y = y < high ? y : high;
  return static_cast<uint8_t>(BitsOfFloat(y + kMagic) + bias);
}

template <typename T>
void QuantizeKeys(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, const float* __restrict zeros, const float* __restrict inverses,
                  uint8_t* __restrict codes) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), codes += channels) {
    for (uint32_t c = 0; c < channels; c++) codes[c] = CodeOf((LoadElement<T>(rows + c * sizeof(T)) - zeros[c]) * inverses[c], -16.f, 15.f, 16);
  }
}

template <typename T>
void DequantizeKeys(const uint8_t* __restrict codes, uint32_t tokens, uint32_t channels, const float* __restrict zeros, const float* __restrict steps,
                    uint8_t* __restrict rows) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), codes += channels) {
    for (uint32_t c = 0; c < channels; c++) StoreElement<T>(zeros[c] + static_cast<float>(codes[c] - 16) * steps[c], rows + c * sizeof(T));
  }
}

template <typename T>
void QuantizeValues(const uint8_t* __restrict rows, uint32_t tokens, uint32_t channels, const float* __restrict inverses, uint8_t* __restrict codes) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), codes += channels) {
    const float inverse = inverses[t];
    for (uint32_t c = 0; c < channels; c++) codes[c] = CodeOf(LoadElement<T>(rows + c * sizeof(T)) * inverse, -7.f, 7.f, 8);
  }
}

template <typename T>
void DequantizeValues(const uint8_t* __restrict codes, uint32_t tokens, uint32_t channels, const float* __restrict steps, uint8_t* __restrict rows) {
  for (uint32_t t = 0; t < tokens; t++, rows += channels * sizeof(T), codes += channels) {
    const float step = steps[t];
    for (uint32_t c = 0; c < channels; c++) StoreElement<T>(static_cast<float>(codes[c] - 8) * step, rows + c * sizeof(T));
  }
}

// Eight codes at a time, in one word.
void TakeLowBits(uint8_t* __restrict codes, size_t count, uint8_t* __restrict bits) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  const size_t whole = count / 8;
  for (size_t i = 0; i < whole; i++) {
    const uint64_t eight = Load<uint64_t>(codes + 8 * i);
    bits[i] = static_cast<uint8_t>((eight & kOnes) * 0x0102040810204080u >> 56);
    Store<uint64_t>(codes + 8 * i, eight >> 1 & 0x0f * kOnes);
  }
  if (count % 8 != 0) bits[whole] = 0;
  for (size_t i = 8 * whole; i < count; i++) {
    bits[whole] = static_cast<uint8_t>(bits[whole] | (codes[i] & 1) << (i % 8));
    codes[i] >>= 1;
  }
}

void GiveLowBits(const uint8_t* __restrict bits, size_t count, uint8_t* __restrict codes) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  const size_t whole = count / 8;
  for (size_t i = 0; i < whole; i++) {
    const uint64_t one_each = ((bits[i] * kOnes & 0x8040201008040201u) + 0x7f * kOnes) >> 7 & kOnes;
    Store<uint64_t>(codes + 8 * i, Load<uint64_t>(codes + 8 * i) << 1 | one_each);
  }
  for (size_t i = 8 * whole; i < count; i++) codes[i] = static_cast<uint8_t>(codes[i] << 1 | (bits[whole] >> (i % 8) & 1));
}

}  // namespace
