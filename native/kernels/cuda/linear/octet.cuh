// Eight bf16 as one 16-byte access, in f32 for arithmetic; and sums and maxima over a block in a fixed order.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace longshore::cuda {

struct Octet {
  float v[8];
};

__device__ __forceinline__ Octet Unpack(const uint4& raw) {
  const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&raw);
  Octet out;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    out.v[2 * i] = pair.x;
    out.v[2 * i + 1] = pair.y;
  }
  return out;
}

__device__ __forceinline__ uint4 Pack(const Octet& in) {
  uint4 raw;
  __nv_bfloat162* pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
#pragma unroll
  for (int i = 0; i < 4; i++) pairs[i] = __floats2bfloat162_rn(in.v[2 * i], in.v[2 * i + 1]);
  return raw;
}

// Eight values times `inverse` as e4m3, saturating.
__device__ __forceinline__ uint2 PackFp8(const Octet& in, float inverse) {
  uint2 raw;
  __nv_fp8x2_storage_t* pairs = reinterpret_cast<__nv_fp8x2_storage_t*>(&raw);
#pragma unroll
  for (int i = 0; i < 4; i++) pairs[i] = __nv_cvt_float2_to_fp8x2(make_float2(in.v[2 * i] * inverse, in.v[2 * i + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
  return raw;
}

__device__ __forceinline__ const uint4& RawOctet(const __nv_bfloat16* p) { return *reinterpret_cast<const uint4*>(p); }
__device__ __forceinline__ uint4& RawOctet(__nv_bfloat16* p) { return *reinterpret_cast<uint4*>(p); }

struct SumOf {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct MaxOf {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <typename Of>
__device__ __forceinline__ float WarpReduce(float value, Of of) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value = of(value, __shfl_xor_sync(0xffffffffu, value, lanes));
  return value;
}

// Over a block of kThreads; every thread gets the result. `shared`: kThreads / 32 floats, free again after the next barrier.
template <int kThreads, typename Of>
__device__ __forceinline__ float BlockReduce(float value, float* shared, Of of) {
  value = WarpReduce(value, of);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float total = shared[0];
#pragma unroll
  for (int i = 1; i < kThreads / 32; i++) total = of(total, shared[i]);
  return total;
}

// A row's fp8 scale: its largest magnitude lands on e4m3's largest value.
__device__ __forceinline__ float Fp8Scale(float largest) { return largest > 0 ? largest * (1.f / 448.f) : 1.f; }

}  // namespace longshore::cuda
