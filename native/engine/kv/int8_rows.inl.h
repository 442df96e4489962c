// Row loops of the int8 codec (codec_rows.h): plain loops without branches, written so that the compiler vectorizes them.
#pragma once

#include "engine/kv/codec_element.inl.h"

namespace {

// Scales of one head in a block: channels (keys) or tokens (values), each at most this many.
constexpr uint32_t kMostScales = 1024;

// scales[c] = max over tokens of |x[t][c]| / 127.
template <typename T>
inline void KeyScales(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* __restrict scales) {
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
inline void ValueScales(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* __restrict scales) {
  for (uint32_t t = 0; t < tokens; t++) {
    const uint8_t* row = rows + size_t{t} * channels * sizeof(T);
    // The order of magnitudes is the order of their bits, and integer maxima vectorize without licence to reorder floats.
    uint32_t max = 0;
    for (uint32_t c = 0; c < channels; c++) {
      const float x = Magnitude(LoadElement<T>(row + c * sizeof(T)));
      const uint32_t bits = BitsOfFloat(x > 0.f ? x : 0.f);
      max = bits > max ? bits : max;
    }
    scales[t] = FloatOfBits(max) / 127.f;
  }
}

// q[c] = x[c] / scale rounded half to even, within [-127, 127]; 0 where the scale is 0 or the quotient not a number.
// kStride: 1 = a scale for each channel, 0 = one for the row.
template <typename T, uint32_t kStride>
inline void QuantizeRow(const uint8_t* __restrict row, uint32_t channels, const float* __restrict scales, uint8_t* __restrict q) {
  constexpr float kMagic = 0x1.8p23f;  // adding it leaves the nearest integer in the mantissa
  for (uint32_t c = 0; c < channels; c++) {
    const float scale = scales[c * kStride];
    float y = LoadElement<T>(row + c * sizeof(T)) / scale;
    y = scale > 0.f && y == y ? y : 0.f;
    y = y > 127.f ? 127.f : y;
    y = y < -127.f ? -127.f : y;
    q[c] = static_cast<uint8_t>(BitsOfFloat(y + kMagic));
  }
}

template <typename T, uint32_t kStride>
inline void DequantizeRow(const uint8_t* __restrict q, uint32_t channels, const float* __restrict scales, uint8_t* __restrict row) {
  for (uint32_t c = 0; c < channels; c++) {
    StoreElement<T>(static_cast<float>(static_cast<int8_t>(q[c])) * scales[c * kStride], row + c * sizeof(T));
  }
}

template <typename T>
void EncodeInt8(uint32_t heads, uint32_t tokens, uint32_t d, const uint8_t* raw, uint8_t* out) {
  const size_t row_bytes = d * sizeof(T);
  float scales[kMostScales];
  for (uint32_t head = 0; head < heads; head++) {
    KeyScales<T>(raw, tokens, d, scales);
    __builtin_memcpy(out, scales, d * sizeof(float));
    out += d * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, out += d, raw += row_bytes) QuantizeRow<T, 1>(raw, d, scales, out);
  }
  for (uint32_t head = 0; head < heads; head++) {
    ValueScales<T>(raw, tokens, d, scales);
    __builtin_memcpy(out, scales, tokens * sizeof(float));
    out += tokens * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, out += d, raw += row_bytes) QuantizeRow<T, 0>(raw, d, scales + t, out);
  }
}

template <typename T>
void DecodeInt8(uint32_t heads, uint32_t tokens, uint32_t d, const uint8_t* in, uint8_t* raw) {
  float scales[kMostScales];
  for (uint32_t head = 0; head < heads; head++) {
    __builtin_memcpy(scales, in, d * sizeof(float));
    in += d * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, in += d, raw += d * sizeof(T)) DequantizeRow<T, 1>(in, d, scales, raw);
  }
  for (uint32_t head = 0; head < heads; head++) {
    __builtin_memcpy(scales, in, tokens * sizeof(float));
    in += tokens * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, in += d, raw += d * sizeof(T)) DequantizeRow<T, 0>(in, d, scales + t, raw);
  }
}

}  // namespace
