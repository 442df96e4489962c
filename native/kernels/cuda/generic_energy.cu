// The block_energy index for any card and head_dim: a thread block per (tile, head), eight warps of 16 rows, mean keys 64 blocks at a time, once for the rows'
// maxima and once for the sums. Correct first.
#include <cstddef>

#include "kernels/cuda/generic_kernels.h"
#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/warp_product.cuh"

namespace longshore::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

template <int kChannels>
struct SharedMemory {
  alignas(16) bf16 means[kHalfRows * kChannels];
  float columns[kWarps][kHalfRows];
  float warp_value[kWarps];
  int warp_count[kWarps];
  float energy[];  // [ceil((max_query_block + 1) / 64) * 64]
};

template <int kChannels>
__global__ void __launch_bounds__(kThreads) GenericEnergyKernel(const BlockEnergy params) {
  extern __shared__ __align__(16) uint8_t raw[];
  auto& shared = *reinterpret_cast<SharedMemory<kChannels>*>(raw);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, c = lane & 3;
  const int tile_index = blockIdx.x, head = blockIdx.y;
  const PrefillTile tile = params.tiles[tile_index];
  const int kv_head = head / (params.heads / params.kv_heads);
  const bf16* means = params.means.means + (static_cast<int64_t>(tile.sequence) * params.kv_heads + kv_head) * params.means.tiles * TileElements(kChannels);
  const float log2_scale = params.scale * 1.4426950408889634f;
  const int rows[2] = {16 * warp + g, 16 * warp + g + 8};

  // Scores of the thread's two rows against blocks 64 part + 8 n + 2 c and the one after it; later blocks count as -infinity.
  const auto score = [&](float (&s)[8][4], int part) {
    __syncthreads();
    CopyHalf<kChannels, kThreads>(shared.means, means + static_cast<int64_t>(part / 2) * TileElements(kChannels), part % 2);
    __syncthreads();
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) s[n][i] = 0;
    }
#pragma unroll 2
    for (int step = 0; step < kChannels / 16; step++) {
      uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = rows[i & 1], channel = 16 * step + 2 * c + 8 * (i >> 1);
        a[i] = row >= tile.first && row < tile.last && channel < params.head_dim
                   ? *reinterpret_cast<const uint32_t*>(params.q + (static_cast<int64_t>(tile.row + row) * params.heads + head) * params.head_dim + channel)
                   : 0;
      }
#pragma unroll
      for (int n = 0; n < 4; n++) {
        uint32_t b[4];
        LoadFour<false>(b, shared.means + HalfOffset(16 * n + (lane & 7) + (lane & 16 ? 8 : 0), 16 * step + (lane & 8)));
        WarpProduct(s[2 * n], a, b[0], b[1]);
        WarpProduct(s[2 * n + 1], a, b[2], b[3]);
      }
    }
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) s[n][i] = kHalfRows * part + 8 * n + 2 * c + (i & 1) > tile.query_block ? -INFINITY : s[n][i] * log2_scale;
    }
  };

  const int parts = tile.query_block / kHalfRows + 1;
  float peak[2] = {-INFINITY, -INFINITY};
  float s[8][4];
  for (int part = 0; part < parts; part++) {
    score(s, part);
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) peak[i >> 1] = fmaxf(peak[i >> 1], s[n][i]);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const float largest = QuadMax(peak[h]);  // by the whole warp, before rows part ways
    peak[h] = rows[h] >= tile.first && rows[h] < tile.last ? largest : INFINITY;  // rows of no query weigh 2^-inf
  }
  for (int part = 0; part < parts; part++) {
    score(s, part);
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float column = Exp2(s[n][i] - peak[0]) + Exp2(s[n][i + 2] - peak[1]);
#pragma unroll
        for (int bit = 4; bit < 32; bit *= 2) column += __shfl_xor_sync(0xffffffff, column, bit);
        if (g == 0) shared.columns[warp][8 * n + 2 * c + i] = column;
      }
    }
    __syncthreads();
    if (threadIdx.x < kHalfRows) {
      float total = 0;
#pragma unroll
      for (int w = 0; w < kWarps; w++) total += shared.columns[w][threadIdx.x];
      shared.energy[kHalfRows * part + threadIdx.x] = total;
    }
  }
  __syncthreads();

  float largest = 0;
  for (int b = threadIdx.x; b <= tile.query_block; b += kThreads) largest = fmaxf(largest, shared.energy[b]);
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, bit));
  if (lane == 0) shared.warp_value[warp] = largest;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; w++) largest = fmaxf(largest, shared.warp_value[w]);
  const int64_t index = static_cast<int64_t>(head) * params.tile_count + tile_index;
  int count = 0;
  for (int word = warp; word <= tile.query_block / 32; word += kWarps) {
    const int block = 32 * word + lane;
    const bool listed = block <= tile.query_block &&
                        (shared.energy[block] >= params.alpha * largest || block < params.sink || tile.query_block - block < params.window);
    const uint32_t bits = __ballot_sync(0xffffffff, listed);
    if (lane == 0) params.mask[index * params.mask_words + word] = bits;
    count += __popc(bits);
  }
  if (lane == 0) shared.warp_count[warp] = count;
  __syncthreads();
  if (threadIdx.x == 0) {
    int total = 0;
    for (int w = 0; w < kWarps; w++) total += shared.warp_count[w];
    params.mask_count[index] = total;
  }
}

template <int kChannels>
cudaError_t Launch(const BlockEnergy& params, cudaStream_t stream) {
  const int shared_bytes = static_cast<int>(offsetof(SharedMemory<kChannels>, energy) + (params.max_query_block / kHalfRows + 1) * kHalfRows * sizeof(float));
  const cudaError_t error = cudaFuncSetAttribute(GenericEnergyKernel<kChannels>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  GenericEnergyKernel<kChannels><<<dim3(params.tile_count, params.heads), kThreads, shared_bytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

cudaError_t GenericBlockEnergy(const BlockEnergy& params, cudaStream_t stream) {
  if (params.heads > 65535) return cudaErrorInvalidValue;
  switch (PaddedHeadDim(params.head_dim)) {
    case 64: return Launch<64>(params, stream);
    case 128: return Launch<128>(params, stream);
    case 192: return Launch<192>(params, stream);
    default: return Launch<256>(params, stream);
  }
}

}  // namespace longshore::cuda
