// Row loops of the int8 codec. T is the pool's element: uint16_t (bf16 bits) or float. Rows need no alignment.
// Plain loops without branches, written so that the compiler vectorizes them for the baseline; rounding is exact IEEE
// arithmetic, so every machine writes the same bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "engine/kv/bf16.h"

namespace longshore {

template <typename T>
float LoadElement(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  if constexpr (std::is_same_v<T, uint16_t>) return FloatOfBf16(value);
  else return value;
}

template <typename T>
void StoreElement(float value, uint8_t* p) {
  T stored;
  if constexpr (std::is_same_v<T, uint16_t>) stored = Bf16OfFloat(value);
  else stored = value;
  std::memcpy(p, &stored, sizeof(T));
}

inline float Magnitude(float x) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7fffffffu); }

// scales[c] = max over tokens of |x[t][c]| / 127.
template <typename T>
void KeyScales(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* scales) {
  for (uint32_t c = 0; c < channels; c++) scales[c] = 0.f;
  for (uint32_t t = 0; t < tokens; t++) {
    const uint8_t* row = rows + size_t{t} * channels * sizeof(T);
    for (uint32_t c = 0; c < channels; c++) {
      const float x = Magnitude(LoadElement<T>(row + c * sizeof(T)));
      scales[c] = x > scales[c] ? x : scales[c];
    }
  }
  for (uint32_t c = 0; c < channels; c++) scales[c] /= 127.f;
}

// scales[t] = max over channels of |x[t][c]| / 127.
template <typename T>
void ValueScales(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* scales) {
  for (uint32_t t = 0; t < tokens; t++) {
    const uint8_t* row = rows + size_t{t} * channels * sizeof(T);
    // The order of magnitudes is the order of their bits, and integer maxima vectorize without licence to reorder floats.
    int32_t max = 0;
    for (uint32_t c = 0; c < channels; c++) {
      const float x = Magnitude(LoadElement<T>(row + c * sizeof(T)));
      max = std::max(max, std::bit_cast<int32_t>(x > 0.f ? x : 0.f));
    }
    scales[t] = std::bit_cast<float>(max) / 127.f;
  }
}

// q[c] = x[c] / scale rounded half to even, within [-127, 127]; 0 where the scale is 0 or the quotient not a number.
// scales advances by `stride` (0 or 1) per channel.
template <typename T>
void QuantizeRow(const uint8_t* row, uint32_t channels, const float* scales, uint32_t stride, uint8_t* q) {
  constexpr float kMagic = 0x1.8p23f;  // adding it leaves the nearest integer in the mantissa
  for (uint32_t c = 0; c < channels; c++) {
    const float scale = scales[c * stride];
    float y = LoadElement<T>(row + c * sizeof(T)) / scale;
    y = scale > 0.f && y == y ? y : 0.f;
    y = y > 127.f ? 127.f : y;
    y = y < -127.f ? -127.f : y;
    q[c] = static_cast<uint8_t>(std::bit_cast<uint32_t>(y + kMagic));
  }
}

template <typename T>
void DequantizeRow(const uint8_t* q, uint32_t channels, const float* scales, uint32_t stride, uint8_t* row) {
  for (uint32_t c = 0; c < channels; c++) {
    StoreElement<T>(static_cast<float>(static_cast<int8_t>(q[c])) * scales[c * stride], row + c * sizeof(T));
  }
}

}  // namespace longshore
