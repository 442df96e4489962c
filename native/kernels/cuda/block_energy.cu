// One thread block per (head, tile): two warpgroups of 64 query rows each score tiles of 128 mean keys; the first thread also
// asks the copy engine for the tiles to come. Two passes, because the reference of a row is its maximum over all blocks: the first keeps
// only maxima, the second sums exponentials down the columns. The second starts with the tile the first ended with, still in registers.
// The warpgroups drift apart by up to two tiles, and two thread blocks share a multiprocessor, so that products of one run under the
// exponentials of another.
#include "kernels/cuda/hopper_kernels.h"

#include <cstddef>

#include <cuda_fp16.h>

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/wgmma.cuh"

namespace longshore::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
// Named barriers. The second warpgroup hands its column sums to the first through two buffers.
constexpr int kWarpgroupBarrier = 1;  // + warpgroup
constexpr int kHandedBarrier = 3;     // + buffer: filled by the second warpgroup
constexpr int kTakenBarrier = 5;      // + buffer: read by the first
constexpr int kAllBarrier = 7;

// kChannels: head_dim padded to whole panels.
template <int kChannels>
struct SharedMemory {
  alignas(1024) bf16 q[TileElements(kChannels)];
  alignas(1024) bf16 means[kStages][TileElements(kChannels)];
  float columns[2][kWarps][kBlockTokens];  // [buffer][warp][block of the tile]
  float warp_value[kWarps];
  int warp_count[kWarps];
  uint64_t q_full, full[kStages], empty[kStages];
  // [ceil((max_query_block + 1) / 128) * 128]. Halves, so that two thread blocks fit a multiprocessor up to 512K tokens: the largest
  // energy is at least 128 / 8192, and 11 bits are ample for a threshold.
  __half energy[];
};

// Feeds tiles 0 .. n-1 and then n-2 .. 0 of a sequence's means through the ring; one thread.
template <int kChannels>
struct MeanFeed {
  const bf16* means;
  int tiles;
  int next = 0;
  RingPosition<kStages> ring;

  __device__ __forceinline__ void Load(SharedMemory<kChannels>& shared) {
    if (next == 2 * tiles - 1) return;
    const int64_t t = next < tiles ? next : 2 * tiles - 2 - next;
    BarrierWait(&shared.empty[ring.stage], ring.parity ^ 1);
    BarrierArriveExpect(&shared.full[ring.stage], TileBytes(kChannels));
    BulkCopy(shared.means[ring.stage], means + t * TileElements(kChannels), TileBytes(kChannels), &shared.full[ring.stage]);
    ring.Advance();
    next++;
  }
};

// One exchange of a transposing sum: lanes that differ in bit kHalf of their index add up, and each keeps half of the values.
template <int kHalf>
__device__ __forceinline__ void ExchangeAndAdd(float (&values)[32]) {
  const bool upper = threadIdx.x & kHalf;
#pragma unroll
  for (int i = 0; i < kHalf; i++) {
    const float keep = upper ? values[i + kHalf] : values[i];
    const float send = upper ? values[i] : values[i + kHalf];
    values[i] = keep + __shfl_xor_sync(0xffffffff, send, kHalf);
  }
}

template <int kChannels>
__device__ __forceinline__ void Score(const BlockEnergy& params, const CUtensorMap* q_map, SharedMemory<kChannels>& shared, const PrefillTile& tile,
                                      int head) {
  constexpr int kTileBytes = TileBytes(kChannels);
  const int lane = threadIdx.x & 31, c = lane & 3, thread = threadIdx.x & 127;
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x >> 5), 0), warpgroup = warp >> 2;
  const int last_tile = __shfl_sync(0xffffffff, tile.query_block / kBlockTokens, 0);
  const float log2_scale = params.scale * 1.4426950408889634f;
  const uint64_t queries = InnerMajorDescriptor(shared.q + warpgroup * 64 * 64);
  const uint64_t keys_base = InnerMajorDescriptor(shared.means[0]);
  RingPosition<kStages> ring;
  float s[64];

  const int kv_head = head / (params.heads / params.kv_heads);
  MeanFeed<kChannels> feed = {params.means.means + (static_cast<int64_t>(tile.sequence) * params.kv_heads + kv_head) * params.means.tiles * TileElements(kChannels),
                   last_tile + 1};
  if (threadIdx.x == 0) {
    BarrierArriveExpect(&shared.q_full, kTileBytes);
#pragma unroll
    for (int channel = 0; channel < kChannels; channel += kPanelChannels)
      TensorCopy(shared.q + channel * kBlockTokens, q_map, channel, head, tile.row, &shared.q_full);
    for (int i = 0; i < kStages; i++) feed.Load(shared);
  }

  const auto score_tile = [&] {
    BarrierWait(&shared.full[ring.stage], ring.parity);
    const uint64_t keys = keys_base + ring.stage * (kTileBytes >> 4);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kChannels / 16; k++) WgmmaShared(s, queries + InnerStep(k), keys + InnerStep(k), k > 0);
    WgmmaCommit();
    WgmmaWait<0>();
    if (lane == 0) BarrierArrive(&shared.empty[ring.stage]);
    ring.Advance();
  };
  // Asked for only after a tile's arithmetic, when the slower warpgroup has released the stage too.
  const auto feed_next = [&] {
    if (threadIdx.x == 0) feed.Load(shared);
    __syncwarp();
  };

  BarrierWait(&shared.q_full, 0);
  float peak[2] = {-INFINITY, -INFINITY};
  for (int t = 0; t <= last_tile; t++) {
    score_tile();
    if (t == last_tile) {
      // The last tile holds means of later blocks, and memory that no mean was written to.
      const int last_column = tile.query_block % kBlockTokens;
#pragma unroll
      for (int i = 0; i < 64; i++) s[i] = 8 * (i >> 2) + 2 * c + (i & 1) > last_column ? -INFINITY : s[i];
    }
#pragma unroll
    for (int i = 0; i < 64; i++) peak[(i >> 1) & 1] = fmaxf(peak[(i >> 1) & 1], s[i]);
    feed_next();
  }

  float offset[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = 16 * warp + 8 * h + (lane >> 2);
    const float value = QuadMax(peak[h]) * log2_scale;
    offset[h] = row >= tile.first && row < tile.last ? value : INFINITY;  // rows of no query weigh 2^-inf
  }
  for (int t = last_tile; t >= 0; t--) {
    if (t < last_tile) score_tile();
    float columns[32];
#pragma unroll
    for (int i = 0; i < 32; i++) {
      const int at = 4 * (i >> 1) + (i & 1);
      columns[i] = Exp2(fmaf(s[at], log2_scale, -offset[0])) + Exp2(fmaf(s[at + 2], log2_scale, -offset[1]));
    }
    // Sums over the eight lanes of a column; each lane is left with four of its 32, chosen by its bits 4, 3, 2.
    ExchangeAndAdd<16>(columns);
    ExchangeAndAdd<8>(columns);
    ExchangeAndAdd<4>(columns);
    const int buffer = t & 1;
    const int first = lane & 28;
    if (warpgroup == 1 && t < last_tile - 1) NamedBarrierSync(kTakenBarrier + buffer, kThreads);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int index = first + i;
      shared.columns[buffer][warp][8 * (index >> 1) + 2 * c + (index & 1)] = columns[i];
    }
    NamedBarrierSync(kWarpgroupBarrier + warpgroup, 128);
    float(*mine)[kBlockTokens] = shared.columns[buffer] + 4 * warpgroup;
    const float sum = (mine[0][thread] + mine[1][thread]) + (mine[2][thread] + mine[3][thread]);
    if (warpgroup == 1) {
      mine[0][thread] = sum;  // nobody else reads or writes this column
      NamedBarrierArrive(kHandedBarrier + buffer, kThreads);
    } else {
      NamedBarrierSync(kHandedBarrier + buffer, kThreads);
      shared.energy[t * kBlockTokens + thread] = __float2half(sum + shared.columns[buffer][4][thread]);
      if (t > 1) NamedBarrierArrive(kTakenBarrier + buffer, kThreads);
    }
    if (t < last_tile) feed_next();
  }
  NamedBarrierSync(kAllBarrier, kThreads);

  float largest = 0;
  for (int b = threadIdx.x; b <= tile.query_block; b += kThreads) largest = fmaxf(largest, __half2float(shared.energy[b]));
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, bit));
  if (lane == 0) shared.warp_value[warp] = largest;
  NamedBarrierSync(kAllBarrier, kThreads);
#pragma unroll
  for (int i = 0; i < kWarps; i++) largest = fmaxf(largest, shared.warp_value[i]);

  const int64_t index = static_cast<int64_t>(head) * params.tile_count + blockIdx.x / params.heads;
  int count = 0;
  for (int word = warp; word <= tile.query_block / 32; word += kWarps) {
    const int block = 32 * word + lane;
    const bool listed = block <= tile.query_block && (__half2float(shared.energy[block]) >= params.alpha * largest || block < params.sink ||
                                                      tile.query_block - block < params.window);
    const uint32_t bits = __ballot_sync(0xffffffff, listed);
    if (lane == 0) params.mask[index * params.mask_words + word] = bits;
    count += __popc(bits);
  }
  if (lane == 0) shared.warp_count[warp] = count;
  NamedBarrierSync(kAllBarrier, kThreads);
  if (threadIdx.x == 0) {
    int total = 0;
    for (int i = 0; i < kWarps; i++) total += shared.warp_count[i];
    params.mask_count[index] = total;
  }
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads, 2)
    BlockEnergyKernel(const __grid_constant__ BlockEnergy params, const __grid_constant__ CUtensorMap q_map) {
  extern __shared__ __align__(1024) uint8_t raw[];
  if (SharedAddress(raw) % 1024 != 0) __trap();  // a kernel without static shared memory gets it aligned; slack would cost a thread block
  auto& shared = *reinterpret_cast<SharedMemory<kChannels>*>(raw);
  const int head = blockIdx.x % params.heads;
  const PrefillTile tile = params.tiles[blockIdx.x / params.heads];
  if (threadIdx.x == 0) {
    BarrierInit(&shared.q_full, 1);
    for (int i = 0; i < kStages; i++) {
      BarrierInit(&shared.full[i], 1);
      BarrierInit(&shared.empty[i], kWarps);
    }
    BarrierInitFence();
  }
  __syncthreads();
  Score(params, &q_map, shared, tile, head);
}

template <int kChannels>
cudaError_t Launch(const BlockEnergy& params, cudaStream_t stream) {
  CUtensorMap q_map;
  cudaError_t error = MakeQueryMap(&q_map, params.q, params.rows, params.heads, params.head_dim);
  if (error != cudaSuccess) return error;
  const int energies = (params.max_query_block / kBlockTokens + 1) * kBlockTokens;
  const int shared_bytes = static_cast<int>(offsetof(SharedMemory<kChannels>, energy) + energies * sizeof(__half));
  error = cudaFuncSetAttribute(BlockEnergyKernel<kChannels>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  BlockEnergyKernel<kChannels><<<params.tile_count * params.heads, kThreads, shared_bytes, stream>>>(params, q_map);
  return cudaGetLastError();
}

}  // namespace

cudaError_t HopperBlockEnergy(const BlockEnergy& params, cudaStream_t stream) {
  return PaddedHeadDim(params.head_dim) == 64 ? Launch<64>(params, stream) : Launch<128>(params, stream);
}

}  // namespace longshore::cuda
