// Split-KV decode for any card, head_dim and sliding window: a thread block per split, a block of 128 tokens at a time: scores to shared memory, softmax by a warp per
// head, then a thread per channel. Splits and the order of their sum are those of decode_splits.h. Correct first.
#include "kernels/cuda/decode_splits.h"
#include "kernels/cuda/generic_kernels.h"
#include "kernels/cuda/online_softmax.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
static_assert(kWarps >= kMaxGroup, "a warp for each head's softmax");

// [sequences][heads][max_splits] (reference in base-2 exponents, sum), after the weighted values of the same shape x head_dim.
__device__ __forceinline__ float2* Statistics(const DecodeAttention& params, int max_splits) {
  return reinterpret_cast<float2*>(params.partial + static_cast<int64_t>(params.sequences) * params.heads * max_splits * params.head_dim);
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads) GenericDecodeKernel(const DecodeAttention params, int max_splits) {
  constexpr int kParts = kChannels <= kThreads / 2 ? kThreads / kChannels : 1;  // threads that share a channel
  __shared__ float score[kMaxGroup][kBlockTokens];
  __shared__ float rescale[kMaxGroup], reference[kMaxGroup], sum[kMaxGroup];
  __shared__ float part_value[kParts][kMaxGroup][kChannels];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int split = blockIdx.x, kv_head = blockIdx.y, sequence = blockIdx.z, group = params.heads / params.kv_heads;
  const int length = params.lengths[sequence], blocks = (length + kBlockTokens - 1) / kBlockTokens, per_split = SplitBlocks(blocks, params.kv_heads);
  if (split >= (blocks + per_split - 1) / per_split) return;
  const int32_t* table = params.kv.block_table + static_cast<int64_t>(sequence) * params.kv.table_stride;
  const int64_t first_head = static_cast<int64_t>(sequence) * params.heads + kv_head * group;
  const float log2_scale = params.scale * 1.4426950408889634f;
  const int oldest = params.sliding_window > 0 ? max(0, length - params.sliding_window) : 0;
  if (threadIdx.x < kMaxGroup) {
    reference[threadIdx.x] = -INFINITY;
    sum[threadIdx.x] = 0;
  }
  const int channel = threadIdx.x % kChannels, part = threadIdx.x / kChannels;
  float o[kMaxGroup] = {};
  for (int block = split * per_split; block < min(blocks, (split + 1) * per_split); block++) {
    const int first = block * kBlockTokens;
    if (first + kBlockTokens <= oldest) continue;
    const int64_t offset = table[block] * params.kv.block_stride + kv_head * params.kv.head_stride;
    __syncthreads();
    for (int token = warp; token < kBlockTokens; token += kWarps) {
      float dot[kMaxGroup] = {};
      for (int c = 2 * lane; c < params.head_dim; c += 64) {
        const float2 key = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(params.kv.k + offset + TileOffset(token, c)));
#pragma unroll
        for (int h = 0; h < kMaxGroup; h++) {
          if (h >= group) break;
          const float2 q = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(params.q + (first_head + h) * params.head_dim + c));
          dot[h] = fmaf(key.x, q.x, fmaf(key.y, q.y, dot[h]));
        }
      }
#pragma unroll
      for (int h = 0; h < kMaxGroup; h++) {
        if (h >= group) break;
#pragma unroll
        for (int bit = 16; bit > 0; bit >>= 1) dot[h] += __shfl_xor_sync(0xffffffff, dot[h], bit);
        if (lane == 0) score[h][token] = first + token < length && first + token >= oldest ? dot[h] * log2_scale : -INFINITY;
      }
    }
    __syncthreads();
    if (warp < group) {
      float peak = reference[warp];
      for (int i = lane; i < kBlockTokens; i += 32) peak = fmaxf(peak, score[warp][i]);
#pragma unroll
      for (int bit = 16; bit > 0; bit >>= 1) peak = fmaxf(peak, __shfl_xor_sync(0xffffffff, peak, bit));
      float total = 0;
      for (int i = lane; i < kBlockTokens; i += 32) {
        const float weight = peak == -INFINITY ? 0.0f : Exp2(score[warp][i] - peak);
        score[warp][i] = weight;
        total += weight;
      }
#pragma unroll
      for (int bit = 16; bit > 0; bit >>= 1) total += __shfl_xor_sync(0xffffffff, total, bit);
      if (lane == 0) {
        const float factor = peak == -INFINITY ? 1.0f : Exp2(reference[warp] - peak);
        rescale[warp] = factor;
        sum[warp] = sum[warp] * factor + total;
        reference[warp] = peak;
      }
    }
    __syncthreads();
    if (part < kParts && channel < params.head_dim) {
#pragma unroll
      for (int h = 0; h < kMaxGroup; h++) o[h] *= h < group ? rescale[h] : 0.0f;
      for (int token = part; token < kBlockTokens; token += kParts) {
        const float value = __bfloat162float(params.kv.v[offset + TileOffset(token, channel)]);
#pragma unroll
        for (int h = 0; h < kMaxGroup; h++) o[h] = h < group ? fmaf(score[h][token], value, o[h]) : 0.0f;
      }
    }
  }
  __syncthreads();
  if (part < kParts) {
#pragma unroll
    for (int h = 0; h < kMaxGroup; h++) part_value[part][h][channel] = o[h];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < group * params.head_dim; i += kThreads) {
    const int h = i / params.head_dim, c = i % params.head_dim;
    float value = 0;
#pragma unroll
    for (int p = 0; p < kParts; p++) value += part_value[p][h][c];
    const int64_t row = (first_head + h) * max_splits + split;
    params.partial[row * params.head_dim + c] = value;
    if (c == 0) Statistics(params, max_splits)[row] = make_float2(reference[h], sum[h]);
  }
}

// One thread block per (sequence, head), a thread per channel.
__global__ void __launch_bounds__(kMaxHeadDim) GenericMergeKernel(const DecodeAttention params, int max_splits) {
  const int64_t head = blockIdx.x;  // of all sequences
  const int blocks = (params.lengths[head / params.heads] + kBlockTokens - 1) / kBlockTokens, splits = Splits(blocks, params.kv_heads);
  const float2* statistics = Statistics(params, max_splits) + head * max_splits;
  float peak = -INFINITY, total = 0, value = 0;
  for (int i = 0; i < splits; i++) peak = fmaxf(peak, statistics[i].x);
  for (int i = 0; i < splits; i++) {
    const float weight = Exp2(statistics[i].x - peak);
    total += weight * statistics[i].y;
    if (static_cast<int>(threadIdx.x) < params.head_dim) value += weight * params.partial[(head * max_splits + i) * params.head_dim + threadIdx.x];
  }
  if (static_cast<int>(threadIdx.x) < params.head_dim) params.out[head * params.head_dim + threadIdx.x] = __float2bfloat16(value / total);
}

}  // namespace

cudaError_t GenericDecodeAttention(const DecodeAttention& params, cudaStream_t stream) {
  if (params.sequences > 65535 || params.kv_heads > 65535) return cudaErrorInvalidValue;
  const int max_splits = MaxSplits(params.max_length, params.kv_heads);
  const dim3 grid(max_splits, params.kv_heads, params.sequences);
  switch (PaddedHeadDim(params.head_dim)) {
    case 64: GenericDecodeKernel<64><<<grid, kThreads, 0, stream>>>(params, max_splits); break;
    case 128: GenericDecodeKernel<128><<<grid, kThreads, 0, stream>>>(params, max_splits); break;
    case 192: GenericDecodeKernel<192><<<grid, kThreads, 0, stream>>>(params, max_splits); break;
    default: GenericDecodeKernel<256><<<grid, kThreads, 0, stream>>>(params, max_splits); break;
  }
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  GenericMergeKernel<<<params.sequences * params.heads, kMaxHeadDim, 0, stream>>>(params, max_splits);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
