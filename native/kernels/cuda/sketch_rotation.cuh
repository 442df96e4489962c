// The rotation under the sketches: a Hadamard transform of randomly signed channels, by the lanes that share a key or a query.
// The signs are those of engine/decode/sketch_index.cc, so that the device's sketches are the CPU's.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/sketch_pool.h"

namespace longshore::cuda {

// Bit i % 32 of word i / 32: channel i changes its sign.
struct RotationSigns {
  uint32_t word[kMaxHeadDim / 32];
};

// Drawn once by the CPU's generator; test/cuda/sketch_rotation_test.cu compares them with it.
constexpr RotationSigns kSketchSigns = {{0xdc382510, 0xa35d5427, 0xb3f17a3b, 0x46ae76e2, 0x66c7bb89, 0x5dbbf3e4, 0xbf54c54b, 0x2728ff72}};

// How a row of kDepth channels lies in a warp: lane l % kLanes holds channels 128 p + 4 l .. + 3.
template <int kDepth>
struct RotationShape {
  static constexpr int kLanes = kDepth / 4 < 32 ? kDepth / 4 : 32;
  static constexpr int kPasses = kDepth / 4 / kLanes;
  static constexpr int kRows = 32 / kLanes;  // that a warp holds at a time
};

// x -> its orthonormal rotation, in place.
template <int kDepth>
__device__ __forceinline__ void RotateRow(float (&x)[RotationShape<kDepth>::kPasses][4], const RotationSigns& signs) {
  using Shape = RotationShape<kDepth>;
  const int lane = threadIdx.x % Shape::kLanes;
  const float scale = rsqrtf(static_cast<float>(kDepth));
#pragma unroll
  for (int p = 0; p < Shape::kPasses; p++) {
    const uint32_t bits = signs.word[4 * p + lane / 8] >> (lane % 8 * 4);
#pragma unroll
    for (int i = 0; i < 4; i++) x[p][i] *= bits >> i & 1 ? -scale : scale;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const float a = x[p][i], b = x[p][i + 1];
      x[p][i] = a + b;
      x[p][i + 1] = a - b;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float a = x[p][i], b = x[p][i + 2];
      x[p][i] = a + b;
      x[p][i + 2] = a - b;
    }
#pragma unroll
    for (int bit = 1; bit < Shape::kLanes; bit *= 2) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float other = __shfl_xor_sync(0xffffffff, x[p][i], bit);
        x[p][i] = lane & bit ? other - x[p][i] : x[p][i] + other;
      }
    }
  }
  if constexpr (Shape::kPasses == 2) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float a = x[0][i], b = x[1][i];
      x[0][i] = a + b;
      x[1][i] = a - b;
    }
  }
}

// Sum over the lanes of a row, in each of them.
template <int kDepth>
__device__ __forceinline__ float RowSum(float x) {
#pragma unroll
  for (int bit = 1; bit < RotationShape<kDepth>::kLanes; bit *= 2) x += __shfl_xor_sync(0xffffffff, x, bit);
  return x;
}

}  // namespace longshore::cuda
