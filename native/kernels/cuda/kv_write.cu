#include "kernels/cuda/kv_write.h"

namespace longshore::cuda {
namespace {

constexpr int kChunks = kHeadDim / 8;  // 16-byte chunks of a row

__global__ void __launch_bounds__(256) KvWriteKernel(const KvWrite params) {
  const PrefillTile tile = params.tiles[blockIdx.x];
  const int head = blockIdx.y;
  const int64_t block = params.kv.block_table[static_cast<int64_t>(tile.sequence) * params.kv.table_stride + tile.query_block];
  const int64_t base = block * params.kv.block_stride + head * params.kv.head_stride;
  for (int i = threadIdx.x; i < kBlockTokens * kChunks; i += blockDim.x) {
    const int token = i / kChunks, channel = i % kChunks * 8;
    if (token < tile.first) continue;
    uint4 k = {0, 0, 0, 0}, v = {0, 0, 0, 0};
    if (token < tile.last) {
      const int64_t source = (static_cast<int64_t>(tile.row + token) * params.kv_heads + head) * kHeadDim + channel;
      k = *reinterpret_cast<const uint4*>(params.k + source);
      v = *reinterpret_cast<const uint4*>(params.v + source);
    }
    *reinterpret_cast<uint4*>(params.kv.k + base + TileOffset(token, channel)) = k;
    *reinterpret_cast<uint4*>(params.kv.v + base + TileOffset(token, channel)) = v;
  }
}

// 128 threads: thread t sums channels 8 (t % 16) .. +7 of tokens t / 16, t / 16 + 8, ...
__global__ void __launch_bounds__(128) BlockMeansKernel(const PagedKv kv, const PrefillTile* tiles, const BlockMeans out) {
  __shared__ float partial[8][kHeadDim];
  const PrefillTile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, group = threadIdx.x / kChunks, channel = threadIdx.x % kChunks * 8;
  const int64_t block = kv.block_table[static_cast<int64_t>(tile.sequence) * kv.table_stride + tile.query_block];
  const bf16* keys = kv.k + block * kv.block_stride + head * kv.head_stride;
  float sum[8] = {};
#pragma unroll
  for (int i = 0; i < kBlockTokens / 8; i++) {
    const int token = group + 8 * i;
    const uint4 chunk = *reinterpret_cast<const uint4*>(keys + TileOffset(token, channel));
    const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&chunk);
    if (token >= tile.last) continue;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float2 pair = __bfloat1622float2(pairs[j]);
      sum[2 * j] += pair.x;
      sum[2 * j + 1] += pair.y;
    }
  }
#pragma unroll
  for (int j = 0; j < 8; j++) partial[group][channel + j] = sum[j];
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) total += partial[i][threadIdx.x];
  const int64_t mean_tile = (static_cast<int64_t>(tile.sequence) * gridDim.y + head) * out.tiles + tile.query_block / kBlockTokens;
  out.means[mean_tile * kTileElements + TileOffset(tile.query_block % kBlockTokens, threadIdx.x)] =
      __float2bfloat16(total / static_cast<float>(tile.last));
}

}  // namespace

cudaError_t LaunchKvWrite(const KvWrite& params, cudaStream_t stream) {
  if (params.kv_heads <= 0 || params.kv_heads > 65535 || params.tile_count < 0) return cudaErrorInvalidValue;
  if (params.tile_count == 0) return cudaSuccess;
  KvWriteKernel<<<dim3(params.tile_count, params.kv_heads), 256, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t LaunchBlockMeans(const PagedKv& kv, int32_t kv_heads, const PrefillTile* tiles, int32_t tile_count, const BlockMeans& means,
                             cudaStream_t stream) {
  if (kv_heads <= 0 || kv_heads > 65535 || tile_count < 0 || means.tiles <= 0) return cudaErrorInvalidValue;
  if (tile_count == 0) return cudaSuccess;
  BlockMeansKernel<<<dim3(tile_count, kv_heads), 128, 0, stream>>>(kv, tiles, means);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
