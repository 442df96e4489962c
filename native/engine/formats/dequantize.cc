#include "engine/formats/dequantize.h"

#include <cstring>

#include "engine/formats/half.h"
#include "engine/formats/quant_blocks.h"

namespace longshore {
namespace {

uint32_t FifthBits(const uint8_t qh[4]) {
  return qh[0] | static_cast<uint32_t>(qh[1]) << 8 | static_cast<uint32_t>(qh[2]) << 16 | static_cast<uint32_t>(qh[3]) << 24;
}

void DequantizeBlock(const BlockQ4_0& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>((b.qs[i] & 0x0F) - 8) * d;
    y[i + 16] = static_cast<float>((b.qs[i] >> 4) - 8) * d;
  }
}

void DequantizeBlock(const BlockQ4_1& b, float* y) {
  const float d = F16ToF32(b.d), m = F16ToF32(b.m);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>(b.qs[i] & 0x0F) * d + m;
    y[i + 16] = static_cast<float>(b.qs[i] >> 4) * d + m;
  }
}

void DequantizeBlock(const BlockQ5_0& b, float* y) {
  const float d = F16ToF32(b.d);
  const uint32_t high = FifthBits(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int q0 = (b.qs[i] & 0x0F) | static_cast<int>((high >> i & 1) << 4);
    const int q1 = (b.qs[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    y[i] = static_cast<float>(q0 - 16) * d;
    y[i + 16] = static_cast<float>(q1 - 16) * d;
  }
}

void DequantizeBlock(const BlockQ5_1& b, float* y) {
  const float d = F16ToF32(b.d), m = F16ToF32(b.m);
  const uint32_t high = FifthBits(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int q0 = (b.qs[i] & 0x0F) | static_cast<int>((high >> i & 1) << 4);
    const int q1 = (b.qs[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    y[i] = static_cast<float>(q0) * d + m;
    y[i + 16] = static_cast<float>(q1) * d + m;
  }
}

void DequantizeBlock(const BlockQ8_0& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(b.qs[i]) * d;
}

void DequantizeBlock(const BlockQ4_K& b, float* y) {
  const float d = F16ToF32(b.d), dmin = F16ToF32(b.dmin);
  for (int j = 0; j < 8; ++j) {
    uint8_t scale, min;
    UnpackScaleMin(b.scales, j, &scale, &min);
    const float d1 = d * scale, m1 = dmin * min;
    const uint8_t* q = b.qs + j / 2 * 32;
    const int shift = j % 2 * 4;
    for (int l = 0; l < 32; ++l) y[32 * j + l] = d1 * static_cast<float>(q[l] >> shift & 0x0F) - m1;
  }
}

void DequantizeBlock(const BlockQ5_K& b, float* y) {
  const float d = F16ToF32(b.d), dmin = F16ToF32(b.dmin);
  for (int j = 0; j < 8; ++j) {
    uint8_t scale, min;
    UnpackScaleMin(b.scales, j, &scale, &min);
    const float d1 = d * scale, m1 = dmin * min;
    const uint8_t* q = b.qs + j / 2 * 32;
    const int shift = j % 2 * 4;
    for (int l = 0; l < 32; ++l) {
      const int value = (q[l] >> shift & 0x0F) | (b.qh[l] >> j & 1) << 4;
      y[32 * j + l] = d1 * static_cast<float>(value) - m1;
    }
  }
}

void DequantizeBlock(const BlockQ6_K& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = b.ql + 64 * half;
    const uint8_t* qh = b.qh + 32 * half;
    const int8_t* scales = b.scales + 8 * half;
    float* out = y + 128 * half;
    // Quarter k of the 128 weights: nibble k / 2 of ql[32 (k % 2) + l] and bits 2k, 2k + 1 of qh[l].
    for (int k = 0; k < 4; ++k) {
      for (int l = 0; l < 32; ++l) {
        const int low = ql[32 * (k % 2) + l] >> (k / 2 * 4) & 0x0F;
        const int high = qh[l] >> (2 * k) & 3;
        out[32 * k + l] = d * static_cast<float>(scales[2 * k + l / 16]) * static_cast<float>((low | high << 4) - 32);
      }
    }
  }
}

template <typename Block, int kElements>
void DequantizeBlocks(const uint8_t* src, float* dst, size_t n) {
  for (size_t i = 0; i < n / kElements; ++i) {
    Block block;
    std::memcpy(&block, src + i * sizeof(Block), sizeof(Block));
    DequantizeBlock(block, dst + i * kElements);
  }
}

template <float (*kConvert)(uint16_t)>
void ConvertHalves(const uint8_t* src, float* dst, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, src + 2 * i, 2);
    dst[i] = kConvert(bits);
  }
}

}  // namespace

void DequantizeRow(DType dtype, const uint8_t* src, float* dst, size_t n) {
  switch (dtype) {
    case DType::kF32: std::memcpy(dst, src, n * sizeof(float)); return;
    case DType::kF16: return ConvertHalves<F16ToF32>(src, dst, n);
    case DType::kBf16: return ConvertHalves<Bf16ToF32>(src, dst, n);
    case DType::kQ4_0: return DequantizeBlocks<BlockQ4_0, kSmallBlock>(src, dst, n);
    case DType::kQ4_1: return DequantizeBlocks<BlockQ4_1, kSmallBlock>(src, dst, n);
    case DType::kQ5_0: return DequantizeBlocks<BlockQ5_0, kSmallBlock>(src, dst, n);
    case DType::kQ5_1: return DequantizeBlocks<BlockQ5_1, kSmallBlock>(src, dst, n);
    case DType::kQ8_0: return DequantizeBlocks<BlockQ8_0, kSmallBlock>(src, dst, n);
    case DType::kQ4_K: return DequantizeBlocks<BlockQ4_K, kSuperBlock>(src, dst, n);
    case DType::kQ5_K: return DequantizeBlocks<BlockQ5_K, kSuperBlock>(src, dst, n);
    case DType::kQ6_K: return DequantizeBlocks<BlockQ6_K, kSuperBlock>(src, dst, n);
  }
}

}  // namespace longshore
