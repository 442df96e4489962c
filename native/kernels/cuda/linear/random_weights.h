// Random weights on the device, for benchmarks of a shape whose real weights nobody has here.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

// Elements 4 i .. 4 i + 3 are two Box-Muller pairs of Philox4x32-10 with key = seed and counter = i (engine/philox.h): a function of
// (seed, index) alone, so that a tensor and its twin elsewhere agree to the rounding of log, sin and cos.
struct RandomNormal {
  bf16* out;              // [count]
  int64_t count;          // a multiple of 4
  uint64_t seed;
  float deviation;
};

cudaError_t LaunchRandomNormal(const RandomNormal& params, cudaStream_t stream);

}  // namespace longshore::cuda
