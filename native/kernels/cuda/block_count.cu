#include "kernels/cuda/block_count.h"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) BlockCountKernel(const BlockCount params) {
  unsigned long long sum = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < params.count; i += static_cast<int64_t>(gridDim.x) * kThreads)
    sum += params.counts[i];
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, bit);
  if (threadIdx.x % 32 == 0) atomicAdd(params.total, sum * params.weight);
}

}  // namespace

cudaError_t LaunchBlockCount(const BlockCount& params, cudaStream_t stream) {
  if (params.count < 0 || params.counts == nullptr || params.total == nullptr) return cudaErrorInvalidValue;
  if (params.count == 0) return cudaSuccess;
  BlockCountKernel<<<(params.count + 4 * kThreads - 1) / (4 * kThreads), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
