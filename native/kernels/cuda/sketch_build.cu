// One thread block per (block, kv head), eight warps of sixteen keys each: the keys are read once and stay in registers while their mean is made.
#include "kernels/cuda/sketch_pool.h"

#include <cuda_fp16.h>

#include "kernels/cuda/sketch_rotation.cuh"

namespace longshore::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kKeys = kBlockTokens / kWarps;  // of a warp: one tile of 16 rows of the scan's products

// The word of channels (j, b) = (8 p + lane / 4, i) is spread over the lanes of equal lane % 4; all of them get it.
template <int kDepth>
__device__ __forceinline__ uint32_t SignWord(const float (&x)[4]) {
  const int lane = threadIdx.x % RotationShape<kDepth>::kLanes;
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) word |= static_cast<uint32_t>(!(x[i] < 0)) << (8 * i + lane / 4);
#pragma unroll
  for (int bit = 4; bit < RotationShape<kDepth>::kLanes; bit *= 2) word |= __shfl_xor_sync(0xffffffff, word, bit);
  return word;
}

template <int kDepth>
__global__ void __launch_bounds__(32 * kWarps) SketchBuildKernel(const SketchBuild params, const RotationSigns signs) {
  using Shape = RotationShape<kDepth>;
  constexpr int kRounds = kKeys / Shape::kRows, kPasses = Shape::kPasses;
  __shared__ float partial[kWarps][kDepth];
  __shared__ bf16 shared_mean[kDepth];
  const PrefillTile tile = params.tiles[blockIdx.x];
  if (tile.last < kBlockTokens) return;
  const int64_t block = params.kv.block_table[static_cast<int64_t>(tile.sequence) * params.kv.table_stride + tile.query_block];
  const bf16* keys = params.kv.k + block * params.kv.block_stride + blockIdx.y * params.kv.head_stride;
  uint8_t* entry = params.sketches.entries + block * params.sketches.block_stride + blockIdx.y * params.sketches.head_stride;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % Shape::kLanes, sub = threadIdx.x % 32 / Shape::kLanes;

  float x[kRounds][kPasses][4], sum[kPasses][4] = {};
#pragma unroll
  for (int r = 0; r < kRounds; r++) {
#pragma unroll
    for (int p = 0; p < kPasses; p++) {
      const uint2 chunk = *reinterpret_cast<const uint2*>(keys + TileOffset(kKeys * warp + r * Shape::kRows + sub, 128 * p + 4 * lane));
      const float2 low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(chunk.x));
      const float2 high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(chunk.y));
      x[r][p][0] = low.x;
      x[r][p][1] = low.y;
      x[r][p][2] = high.x;
      x[r][p][3] = high.y;
#pragma unroll
      for (int i = 0; i < 4; i++) sum[p][i] += x[r][p][i];
    }
  }
#pragma unroll
  for (int p = 0; p < kPasses; p++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int bit = Shape::kLanes; bit < 32; bit *= 2) sum[p][i] += __shfl_xor_sync(0xffffffff, sum[p][i], bit);
      if (sub == 0) partial[warp][128 * p + 4 * lane + i] = sum[p][i];
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < kDepth; c += 32 * kWarps) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w++) total += partial[w][c];
    shared_mean[c] = __float2bfloat16(total / kBlockTokens);
    reinterpret_cast<bf16*>(entry + SketchMeanOffset(kDepth))[c] = shared_mean[c];
  }
  __syncthreads();

  uint32_t words[kRounds][kPasses];
#pragma unroll
  for (int r = 0; r < kRounds; r++) {
    float squares = 0, absolute = 0;
#pragma unroll
    for (int p = 0; p < kPasses; p++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        x[r][p][i] -= __bfloat162float(shared_mean[128 * p + 4 * lane + i]);
        squares += x[r][p][i] * x[r][p][i];
      }
    }
    RotateRow<kDepth>(x[r], signs);
#pragma unroll
    for (int p = 0; p < kPasses; p++) {
#pragma unroll
      for (int i = 0; i < 4; i++) absolute += fabsf(x[r][p][i]);
      words[r][p] = SignWord<kDepth>(x[r][p]);
    }
    squares = RowSum<kDepth>(squares);
    absolute = RowSum<kDepth>(absolute);
    if (lane == 0)
      reinterpret_cast<__half*>(entry + SketchFactorOffset(kDepth))[(r * Shape::kRows + sub) * 8 + warp] =
          __float2half(absolute > 0 ? squares / absolute : 0.0f);
  }
  if (lane >= 4) return;
  uint32_t* out = reinterpret_cast<uint32_t*>(entry);
#pragma unroll
  for (int r = 0; r < kRounds; r++) {
    const int key = r * Shape::kRows + sub, g = key % 8, h = key / 8;
#pragma unroll
    for (int p = 0; p < kPasses; p++) {
      if (kDepth == 64 && r >= kRounds / 2) continue;  // shares the word of the key eight before it
      const int w = kDepth == 64 ? warp : (2 * warp + h) * kPasses + p;
      out[(w / 4 * 32 + 4 * g + lane) * 4 + w % 4] = kDepth == 64 ? words[r][p] | words[(r + kRounds / 2) % kRounds][p] << 4 : words[r][p];
    }
  }
}

}  // namespace

cudaError_t LaunchSketchBuild(const SketchBuild& params, cudaStream_t stream) {
  if (!ServesHeadDim(params.head_dim) || PaddedHeadDim(params.head_dim) != SketchDepth(params.head_dim) || params.kv_heads <= 0 || params.kv_heads > 65535 ||
      params.tile_count < 0)
    return cudaErrorInvalidValue;
  if (params.tile_count == 0) return cudaSuccess;
  const dim3 grid(params.tile_count, params.kv_heads);
  switch (SketchDepth(params.head_dim)) {
    case 64: SketchBuildKernel<64><<<grid, 32 * kWarps, 0, stream>>>(params, kSketchSigns); break;
    case 128: SketchBuildKernel<128><<<grid, 32 * kWarps, 0, stream>>>(params, kSketchSigns); break;
    default: SketchBuildKernel<256><<<grid, 32 * kWarps, 0, stream>>>(params, kSketchSigns); break;
  }
  return cudaGetLastError();
}

}  // namespace longshore::cuda
