// Bound by latency, not bytes (a row of 128K logits is 0.5 MB): a row is cut into parts so that every multiprocessor reads a few KB, and a
// second kernel of one warp per row joins them. Ties go to the lower id because parts and threads are joined in ascending order of id.
#include "kernels/cuda/greedy.h"

#include <cmath>

namespace longshore::cuda {
namespace {

constexpr int kParts = 64;
constexpr int kThreads = 256;

// The largest logit, where it is, and the sum of exp(logit - largest).
struct Best {
  float value;
  int32_t id;
  float sum;
  int32_t unused;
};

__device__ __forceinline__ Best Join(const Best& a, const Best& b) {
  const bool take_b = b.value > a.value || (b.value == a.value && b.id < a.id);
  Best joined = take_b ? b : a;
  const Best& other = take_b ? a : b;
  // Parts of nothing but -infinity add nothing; a NaN anywhere stays in the sum.
  joined.sum += other.value == -INFINITY && other.sum == 0 ? 0 : other.sum * __expf(other.value - joined.value);
  return joined;
}

__device__ __forceinline__ Best JoinWarp(Best best) {
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) {
    const Best other = {__shfl_xor_sync(0xffffffff, best.value, bit), __shfl_xor_sync(0xffffffff, best.id, bit), __shfl_xor_sync(0xffffffff, best.sum, bit), 0};
    best = Join(best, other);
  }
  return best;
}

__global__ void __launch_bounds__(kThreads) GreedyPartsKernel(const Greedy params) {
  __shared__ Best warps[kThreads / 32];
  const int row = blockIdx.y, share = (params.vocab + kParts - 1) / kParts, first = blockIdx.x * share, last = min(first + share, params.vocab);
  const float* logits = params.logits + static_cast<int64_t>(row) * params.vocab;
  Best best = {-INFINITY, INT32_MAX, 0, 0};
  for (int i = first + threadIdx.x; i < last; i += kThreads) {
    const float x = logits[i];
    if (x == -INFINITY) continue;
    best = Join(best, {x, i, isfinite(x) ? 1.f : NAN, 0});
  }
  best = JoinWarp(best);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = threadIdx.x < kThreads / 32 ? warps[threadIdx.x] : Best{-INFINITY, INT32_MAX, 0, 0};
  best = JoinWarp(best);
  if (threadIdx.x == 0) static_cast<Best*>(params.partial)[row * kParts + blockIdx.x] = best;
}

__global__ void __launch_bounds__(32) GreedyJoinKernel(const Greedy params) {
  const Best* parts = static_cast<const Best*>(params.partial) + blockIdx.x * kParts;
  Best best = parts[threadIdx.x];
  for (int i = threadIdx.x + 32; i < kParts; i += 32) best = Join(best, parts[i]);
  best = JoinWarp(best);
  if (threadIdx.x != 0) return;
  const bool drawn = isfinite(best.sum) && best.sum > 0 && best.id != INT32_MAX;
  params.tokens[blockIdx.x] = drawn ? best.id : -1;
  params.logprobs[blockIdx.x] = -logf(best.sum);
}

}  // namespace

int64_t GreedyPartialBytes(int32_t rows) { return static_cast<int64_t>(rows) * kParts * static_cast<int64_t>(sizeof(Best)); }

cudaError_t LaunchGreedy(const Greedy& params, cudaStream_t stream) {
  if (params.rows < 0 || params.rows > 65535 || params.vocab <= 0) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  GreedyPartsKernel<<<dim3(kParts, params.rows), kThreads, 0, stream>>>(params);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  GreedyJoinKernel<<<params.rows, 32, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
