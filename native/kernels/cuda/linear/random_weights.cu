#include "kernels/cuda/linear/random_weights.h"

#include "kernels/cuda/linear/philox.cuh"

namespace longshore::cuda {
namespace {

// Two standard normals; u in (0, 1], v in [0, 1), each from 32 bits.
__device__ __forceinline__ __nv_bfloat162 NormalPair(uint32_t u, uint32_t v, float deviation) {
  const float radius = deviation * sqrtf(-2.f * logf((static_cast<float>(u >> 8) + 1.f) * 0x1p-24f));
  float sine, cosine;
  sincospif(static_cast<float>(v >> 8) * 0x1p-23f, &sine, &cosine);
  return __floats2bfloat162_rn(radius * cosine, radius * sine);
}

__global__ void __launch_bounds__(256) RandomNormalKernel(const RandomNormal params) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < params.count / 4; i += stride) {
    const uint4 r = PhiloxAt(params.seed, static_cast<uint64_t>(i));
    __nv_bfloat162 pairs[2] = {NormalPair(r.x, r.y, params.deviation), NormalPair(r.z, r.w, params.deviation)};
    *reinterpret_cast<uint2*>(params.out + 4 * i) = *reinterpret_cast<const uint2*>(pairs);
  }
}

}  // namespace

cudaError_t LaunchRandomNormal(const RandomNormal& params, cudaStream_t stream) {
  if (params.count < 0 || params.count % 4 != 0) return cudaErrorInvalidValue;
  if (params.count == 0) return cudaSuccess;
  const int64_t blocks = (params.count / 4 + 255) / 256;
  RandomNormalKernel<<<static_cast<unsigned>(blocks < 4096 ? blocks : 4096), 256, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
