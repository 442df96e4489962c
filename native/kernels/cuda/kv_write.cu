#include "kernels/cuda/kv_write.h"

namespace longshore::cuda {
namespace {

constexpr int kChunkElements = 8;  // 16 bytes

__global__ void __launch_bounds__(256) KvWriteKernel(const KvWrite params) {
  const PrefillTile tile = params.tiles[blockIdx.x];
  const int head = blockIdx.y;
  const int64_t block = params.kv.block_table[static_cast<int64_t>(tile.sequence) * params.kv.table_stride + tile.query_block];
  const int64_t base = block * params.kv.block_stride + head * params.kv.head_stride;
  const int chunks = PaddedHeadDim(params.head_dim) / kChunkElements;
  for (int i = threadIdx.x; i < kBlockTokens * chunks; i += blockDim.x) {
    const int token = i / chunks, channel = i % chunks * kChunkElements;
    if (token < tile.first) continue;
    uint4 k = {0, 0, 0, 0}, v = {0, 0, 0, 0};
    if (token < tile.last && channel < params.head_dim) {
      const int64_t source = (static_cast<int64_t>(tile.row + token) * params.kv_heads + head) * params.head_dim + channel;
      k = *reinterpret_cast<const uint4*>(params.k + source);
      v = *reinterpret_cast<const uint4*>(params.v + source);
    }
    *reinterpret_cast<uint4*>(params.kv.k + base + TileOffset(token, channel)) = k;
    *reinterpret_cast<uint4*>(params.kv.v + base + TileOffset(token, channel)) = v;
  }
}

// Padded head_dim as a template: eight tokens at a time, a thread for each chunk of a row. 128 threads at 128 channels: thread t sums channels 8 (t % 16) .. +7 of
// tokens t / 16, t / 16 + 8, ...
template <int kChannels>
__global__ void __launch_bounds__(kChannels) BlockMeansKernel(const PagedKv kv, const PrefillTile* tiles, const BlockMeans out) {
  constexpr int kChunks = kChannels / kChunkElements;
  __shared__ float partial[8][kChannels];
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
  out.means[mean_tile * TileElements(kChannels) + TileOffset(tile.query_block % kBlockTokens, threadIdx.x)] =
      __float2bfloat16(total / static_cast<float>(tile.last));
}

}  // namespace

cudaError_t LaunchKvWrite(const KvWrite& params, cudaStream_t stream) {
  if (params.kv_heads <= 0 || params.kv_heads > 65535 || params.tile_count < 0 || !ServesHeadDim(params.head_dim)) return cudaErrorInvalidValue;
  if (params.tile_count == 0) return cudaSuccess;
  KvWriteKernel<<<dim3(params.tile_count, params.kv_heads), 256, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t LaunchBlockMeans(const PagedKv& kv, int32_t kv_heads, int32_t head_dim, const PrefillTile* tiles, int32_t tile_count, const BlockMeans& means,
                             cudaStream_t stream) {
  if (kv_heads <= 0 || kv_heads > 65535 || tile_count < 0 || means.tiles <= 0 || !ServesHeadDim(head_dim)) return cudaErrorInvalidValue;
  if (tile_count == 0) return cudaSuccess;
  const dim3 grid(tile_count, kv_heads);
  switch (PaddedHeadDim(head_dim)) {
    case 64: BlockMeansKernel<64><<<grid, 64, 0, stream>>>(kv, tiles, means); break;
    case 128: BlockMeansKernel<128><<<grid, 128, 0, stream>>>(kv, tiles, means); break;
    case 192: BlockMeansKernel<192><<<grid, 192, 0, stream>>>(kv, tiles, means); break;
    default: BlockMeansKernel<256><<<grid, 256, 0, stream>>>(kv, tiles, means); break;
  }
  return cudaGetLastError();
}

}  // namespace longshore::cuda
