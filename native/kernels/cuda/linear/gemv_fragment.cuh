// One 16-column step of the decode product on the tensor cores, with weights of one or two bytes, and its streaming copies.
#pragma once

#include <cstdint>

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/linear/gemv.h"

namespace longshore::cuda {

// Weights are read once a step: they should leave the L2 cache to what is read again.
__device__ __forceinline__ uint64_t StreamingPolicy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ void BulkCopyStreaming(void* shared, const void* global, uint32_t bytes, uint64_t* barrier, uint64_t policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
                   SharedAddress(shared)),
               "l"(global), "r"(bytes), "r"(SharedAddress(barrier)), "l"(policy)
               : "memory");
}

__device__ __forceinline__ void MultiplyFragment(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sum)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t TimesBf16(uint32_t pair, uint32_t factors) {
  uint32_t out;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(out) : "r"(pair), "r"(factors));
  return out;
}

// Two e4m3 (the high byte of each half of `halves`) as bf16, exactly: the exponent field moves to bf16's place and 2^120 mends its bias.
__device__ __forceinline__ uint32_t Fp8Pair(uint32_t halves) {
  return TimesBf16((halves & 0x80008000u) | ((halves >> 4) & 0x07f007f0u), 0x7b807b80u);
}

// Two int8 as bf16, exactly: 128 + (low seven bits) - 128 or 256, each a bf16 with a last place of 1 or 2.
__device__ __forceinline__ uint32_t Int8Pair(uint32_t halves) {
  const uint32_t low = 0x43004300u | ((halves >> 8) & 0x007f007fu), sign = 0x43004300u | ((halves >> 8) & 0x00800080u);
  uint32_t out;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(out) : "r"(low), "r"(sign));
  return out;
}

// sum += the step's 16 columns. weights: the stage's 16 rows; x: at the stage's first column. The order of columns inside a step may be any,
// the same for both operands: one-byte weights are read four to a word, as columns 4 t .. 4 t + 3 of lane t % 4.
template <GemvWeight kWeight, int kRowBytes>
__device__ __forceinline__ void MultiplyStep(const uint8_t* weights, int step, const __nv_bfloat16* x, int x_pitch, int rows, int lane, float (&sum)[4]) {
  uint32_t a[4], b[2] = {0, 0};
  const int row = lane / 4, quad = lane % 4;
  if constexpr (kWeight == GemvWeight::kBf16) {
    const uint32_t at = SharedAddress(weights + (lane % 16) * kRowBytes + step * 32 + (lane / 16) * 16);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(at));
    if (row < rows) {
      const uint32_t* from = reinterpret_cast<const uint32_t*>(x + row * x_pitch + step * 16 + quad * 2);
      b[0] = from[0];
      b[1] = from[4];
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(weights + (row + 8 * half) * kRowBytes + step * 16 + quad * 4);
      const uint32_t first = __byte_perm(word, 0, 0x1404), second = __byte_perm(word, 0, 0x3424);
      a[half] = kWeight == GemvWeight::kFp8 ? Fp8Pair(first) : Int8Pair(first);
      a[2 + half] = kWeight == GemvWeight::kFp8 ? Fp8Pair(second) : Int8Pair(second);
    }
    if (row < rows) {
      const uint2 from = *reinterpret_cast<const uint2*>(x + row * x_pitch + step * 16 + quad * 4);
      b[0] = from.x;
      b[1] = from.y;
    }
  }
  MultiplyFragment(a, b, sum);
}

}  // namespace longshore::cuda
