// The online softmax of one 64 x 128 score tile, spread over a warpgroup as wgmma's accumulators lie (wgmma.cuh).
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace longshore::cuda {

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Largest value of the four threads that share an accumulator row.
__device__ __forceinline__ float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}
__device__ __forceinline__ float QuadSum(float x) {
  x += __shfl_xor_sync(0xffffffff, x, 1);
  return x + __shfl_xor_sync(0xffffffff, x, 2);
}

// Two rows of a thread: row h = 0, 1 is row 8h + g of its warp's 16. Weights are 2^(c (s - reference)), c = scale * log2(e), and the
// reference is the row's largest score so far. (Letting it lag until it is off by 2^8, to rescale the output less often, was measured
// on an H100 and changed nothing.)
struct SoftmaxRows {
  float reference[2];
  float sum[2];

  // Turns scores into weights; block[] is their sum over this thread's columns, for the caller to add to sum[]. Returns whether
  // factor[] holds anything but 1, the same answer for the whole warp.
  template <bool kFirst>
  __device__ __forceinline__ bool Update(float (&s)[64], float c, float (&factor)[2], float (&block)[2]) {
    float peak[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float a = fmaxf(s[2 * h], s[2 * h + 1]), b = fmaxf(s[4 + 2 * h], s[5 + 2 * h]);
#pragma unroll
      for (int j = 2; j < 16; j += 2) {
        a = fmaxf(a, fmaxf(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
        b = fmaxf(b, fmaxf(s[4 * j + 4 + 2 * h], s[4 * j + 5 + 2 * h]));
      }
      peak[h] = QuadMax(fmaxf(a, b));
    }
    bool rescale = false;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (kFirst) {
        reference[h] = peak[h];
        sum[h] = 0;
        factor[h] = 1;
      } else {
        const bool grow = peak[h] > reference[h];
        factor[h] = grow ? Exp2((reference[h] - peak[h]) * c) : 1.0f;
        reference[h] = grow ? peak[h] : reference[h];
        rescale |= grow;
      }
    }
    if (!kFirst) {
      rescale = __any_sync(0xffffffff, rescale);
      sum[0] *= factor[0];
      sum[1] *= factor[1];
    }
    const float offset[2] = {reference[0] * c, reference[1] * c};
#pragma unroll
    for (int i = 0; i < 64; i++) s[i] = Exp2(fmaf(s[i], c, -offset[(i >> 1) & 1]));
    float even[2] = {0, 0}, odd[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 64; i += 4) {
      even[0] += s[i];
      odd[0] += s[i + 1];
      even[1] += s[i + 2];
      odd[1] += s[i + 3];
    }
    block[0] = even[0] + odd[0];
    block[1] = even[1] + odd[1];
    return rescale;
  }
};

// Weights as the left operand of the next product: p[4k .. 4k+3] serve keys 16k .. 16k+15.
__device__ __forceinline__ void PackWeights(const float (&s)[64], uint32_t (&p)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i++) p[i] = PackBf16(s[2 * i], s[2 * i + 1]);
}

}  // namespace longshore::cuda
