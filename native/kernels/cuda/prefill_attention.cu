// One persistent kernel for dense and listed prefill. 384 threads: a warpgroup whose first warp feeds shared memory through the copy
// engine, and two warpgroups of 64 query rows each that compute. A tile is one head's 128 query rows. Keys and values pass
// through one ring of 32 KB stages in the order K0 K1 V0 K2 V1 ... V(n-1); queries have two slots, so that the next tile's
// queries and first keys arrive while the last one is finished. The two computing warpgroups take turns at the tensor cores
// (named barriers), one's softmax under the other's products; within a warpgroup the next block's scores are issued
// before the last block's values are added. The scheme is FlashAttention-3's (arXiv 2407.08608).
#include "kernels/cuda/hopper_kernels.h"

#include "kernels/cuda/block_cursor.cuh"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/wgmma.cuh"

namespace longshore::cuda {
namespace {

constexpr int kStages = 4;
constexpr int kThreads = 384;
constexpr int kComputeWarps = 8;
constexpr int kProducerRegisters = 40;
constexpr int kComputeRegisters = 232;
constexpr int kTurnBarrier = 1;      // + warpgroup: its turn at the tensor cores
constexpr int kWarpgroupBarrier = 3; // + warpgroup: its four warps

// What the producer tells the computing warps about a tile.
struct TileOrder {
  int32_t row;
  int16_t first, last;
  int32_t head;
  int32_t blocks;  // 0: no more tiles
  int32_t query_block;
  int32_t index;   // head * tile_count + tile
};

// kChannels: head_dim padded to whole panels.
template <int kChannels>
struct SharedMemory {
  alignas(1024) bf16 q[2][TileElements(kChannels)];
  alignas(1024) bf16 kv[kStages][TileElements(kChannels)];
  uint64_t q_full[2], q_empty[2];
  uint64_t full[kStages], empty[kStages];
  TileOrder order[2];
  int32_t block[kStages];  // of the keys in a stage
};

template <typename Cursor, int kChannels>
__device__ __forceinline__ void Produce(const PrefillAttention& params, const CUtensorMap* q_map, SharedMemory<kChannels>& shared) {
  constexpr int kTileBytes = TileBytes(kChannels);
  const bool leader = (threadIdx.x & 31) == 0;
  const int group = params.heads / params.kv_heads;
  const int section_heads = params.section_kv_heads * group;
  const int section_items = params.tile_count * section_heads;
  const int total = params.tile_count * params.heads;
  RingPosition<kStages> ring;
  RingPosition<2> slot;

  const auto load = [&](const bf16* source, int block) {
    if (leader) {
      BarrierWait(&shared.empty[ring.stage], ring.parity ^ 1);
      shared.block[ring.stage] = block;
      BarrierArriveExpect(&shared.full[ring.stage], kTileBytes);
      BulkCopy(shared.kv[ring.stage], source, kTileBytes, &shared.full[ring.stage]);
    }
    ring.Advance();
  };

  int item = blockIdx.x;
  while (item < total) {
    const int section = item / section_items;
    const int tile_index = item % section_items / section_heads;
    const int head = section * section_heads + item % section_heads;
    const PrefillTile tile = params.tiles[tile_index];
    const int64_t index = static_cast<int64_t>(head) * params.tile_count + tile_index;
    const int blocks = params.mask ? params.mask_count[index] : tile.query_block + 1;
    const int32_t* table = params.kv.block_table + static_cast<int64_t>(tile.sequence) * params.kv.table_stride;
    const int64_t head_offset = (head / group) * params.kv.head_stride;
    Cursor cursor(params.mask + index * params.mask_words, tile.query_block);
    int block = cursor.Next();
    int64_t offset = table[block] * params.kv.block_stride + head_offset;

    if (leader) {
      BarrierWait(&shared.q_empty[slot.stage], slot.parity ^ 1);
      shared.order[slot.stage] = {tile.row, tile.first, tile.last, head, blocks, tile.query_block, static_cast<int32_t>(index)};
      BarrierArriveExpect(&shared.q_full[slot.stage], kTileBytes);
#pragma unroll
      for (int c = 0; c < kChannels; c += kPanelChannels)
        TensorCopy(shared.q[slot.stage] + c * kBlockTokens, q_map, c, head, tile.row, &shared.q_full[slot.stage]);
    }
    slot.Advance();

    int ticket = 0;
    int64_t previous = 0;
    for (int i = 0; i < blocks; i++) {
      load(params.kv.k + offset, block);
      if (i > 0) load(params.kv.v + previous, block);
      else if (leader) ticket = atomicAdd(params.schedule, 1);
      previous = offset;
      if (i + 1 < blocks) {
        block = cursor.Next();
        offset = table[block] * params.kv.block_stride + head_offset;
      }
    }
    load(params.kv.v + previous, block);
    item = __shfl_sync(0xffffffff, ticket, 0) + gridDim.x;
  }
  if (leader) {
    BarrierWait(&shared.q_empty[slot.stage], slot.parity ^ 1);
    shared.order[slot.stage].blocks = 0;
    BarrierArrive(&shared.q_full[slot.stage]);
    if (atomicAdd(params.schedule + 1, 1) == static_cast<int>(gridDim.x) - 1) {
      params.schedule[0] = 0;
      params.schedule[1] = 0;
    }
  }
}

// Weighted values of a tile's rows -> bf16 rows of out, through the tile's own query slot so that stores are 16 bytes and whole rows.
template <int kChannels>
__device__ __forceinline__ void StoreRows(const PrefillAttention& params, const TileOrder& order, bf16* slot, const float (&o)[kChannels / 2],
                                          const float (&sum)[2], int warpgroup, int warp) {
  const int lane = threadIdx.x & 31;
  const int base = 64 * warpgroup + 16 * warp;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const float inverse = 1.0f / sum[h];
    const int row = base + 8 * h + (lane >> 2);
#pragma unroll
    for (int j = 0; j < kChannels / 8; j++) {
      const uint32_t pair = PackBf16(o[4 * j + 2 * h] * inverse, o[4 * j + 2 * h + 1] * inverse);
      *reinterpret_cast<uint32_t*>(slot + TileOffset(row, 8 * j + 2 * (lane & 3))) = pair;
    }
  }
  __syncwarp();
  constexpr int kChunks = kChannels / 8, kRows = 32 / kChunks;  // 16-byte chunks of a row, rows that a warp stores at a time
  const int channel = 8 * (lane % kChunks);
#pragma unroll
  for (int i = 0; i < 16 / kRows; i++) {
    const int row = base + kRows * i + lane / kChunks;
    const uint4 chunk = *reinterpret_cast<const uint4*>(slot + TileOffset(row, channel));
    if (row >= order.first && row < order.last && channel < params.head_dim) {
      const int64_t out_row = static_cast<int64_t>(order.row + row) * params.heads + order.head;
      *reinterpret_cast<uint4*>(params.out + out_row * params.head_dim + channel) = chunk;
    }
  }
}

// True when any of a warpgroup's threads says so.
__device__ __forceinline__ bool AnyOfWarpgroup(int barrier, bool mine) {
  int any;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.b32 p, %2, 0;\n"
      "barrier.cta.red.or.aligned.pred q, %1, 128, p;\n"
      "selp.b32 %0, 1, 0, q;\n"
      "}\n"
      : "=r"(any)
      : "r"(barrier), "r"(static_cast<int>(mine))
      : "memory");
  return any != 0;
}

template <bool kSecondLook, int kChannels>
__device__ __forceinline__ void Compute(const PrefillAttention& params, SharedMemory<kChannels>& shared, int warpgroup) {
  constexpr int kTileBytes = TileBytes(kChannels), kAccumulators = kChannels / 2;
  const int lane = threadIdx.x & 31;
  const int warp = (threadIdx.x >> 5) & 3;
  const float c = params.scale * 1.4426950408889634f;
  const uint64_t kv_keys = InnerMajorDescriptor(shared.kv[0]);
  const uint64_t kv_values = OuterMajorDescriptor(shared.kv[0]);
  RingPosition<kStages> ring;
  RingPosition<2> slot;

  const auto release = [&](int stage) {
    if (lane == 0) BarrierArrive(&shared.empty[stage]);
  };
  const auto scores = [&](float (&s)[64], uint64_t queries, int stage) {
    const uint64_t keys = kv_keys + stage * (kTileBytes >> 4);
#pragma unroll
    for (int k = 0; k < kChannels / 16; k++) WgmmaShared(s, queries + InnerStep(k), keys + InnerStep(k), k > 0);
    WgmmaCommit();
  };
  const auto add_values = [&](float (&o)[kAccumulators], const uint32_t (&p)[32], int stage) {
    const uint64_t values = kv_values + stage * (kTileBytes >> 4);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < 8; k++) WgmmaRegisters(o, p + 4 * k, values + k * (2048 >> 4));
    WgmmaCommit();
  };

  if (warpgroup == 1) NamedBarrierArrive(kTurnBarrier, 256);
  for (;;) {
    BarrierWait(&shared.q_full[slot.stage], slot.parity);
    const TileOrder order = shared.order[slot.stage];
    // Read through a shuffle, so that the compiler knows the loop below is uniform and keeps the wgmma groups asynchronous.
    const int blocks = __shfl_sync(0xffffffff, order.blocks, 0);
    if (blocks == 0) break;
    bf16* q = shared.q[slot.stage];
    const uint64_t queries = InnerMajorDescriptor(q + 64 * 64 * warpgroup);

    float s[64], o[kAccumulators], factor[2], mass[2];
    uint32_t p[32];
    SoftmaxRows rows;
    bool read = true;
    int reads = 1;
#pragma unroll
    for (int i = 0; i < kAccumulators; i++) o[i] = 0;

    BarrierWait(&shared.full[ring.stage], ring.parity);
    WgmmaFence();
    scores(s, queries, ring.stage);
    WgmmaWait<0>();
    const int row = 64 * warpgroup + 16 * warp + (lane >> 2);
    const auto record_read = [&](int block) {
      if (params.read_mask && warp == 0 && lane == 0)
        params.read_mask[(2 * static_cast<int64_t>(order.index) + warpgroup) * params.mask_words + block / 32] |= 1u << (block % 32);
    };
    if (kSecondLook) record_read(order.query_block);
    release(ring.stage);
    ring.Advance();
    // The first block is the tile's own: the only one with keys after a row's position.
#pragma unroll
    for (int i = 0; i < 64; i++) {
      const int column = 8 * (i >> 2) + 2 * (lane & 3) + (i & 1);
      if (column > row + 8 * ((i >> 1) & 1)) s[i] = -INFINITY;
    }
    rows.Update<true>(s, c, factor, mass);
#pragma unroll
    for (int h = 0; h < 2; h++) rows.sum[h] = kSecondLook ? QuadSum(mass[h]) : mass[h];
    PackWeights(s, p);
    BarrierWait(&shared.full[ring.stage], ring.parity);

    for (int i = 1; i < blocks; i++) {
      const int key_stage = ring.stage;
      // Read by the lane that also releases the stage.
      const int block = kSecondLook ? __shfl_sync(0xffffffff, lane == 0 ? shared.block[key_stage] : 0, 0) : 0;
      ring.Advance();
      NamedBarrierSync(kTurnBarrier + warpgroup, 256);
      WgmmaFence();
      scores(s, queries, key_stage);
      const int value_stage = ring.stage;
      BarrierWait(&shared.full[value_stage], ring.parity);
      ring.Advance();
      if (!kSecondLook || read) add_values(o, p, value_stage);
      else WgmmaCommit();  // an empty group, so that the waits count alike
      NamedBarrierArrive(kTurnBarrier + (warpgroup ^ 1), 256);
      WgmmaWait<1>();
      release(key_stage);
      const bool rescale = rows.Update<false>(s, c, factor, mass);
      PinHere(s);
      // The next stage is waited for here because a branch is what keeps the exponentials above the wait for the values' product.
      BarrierWait(&shared.full[ring.stage], ring.parity);
      WgmmaWait<0>();
      release(value_stage);
      if (kSecondLook) {
        bool wanted = block < params.sink || order.query_block - block < params.window;
#pragma unroll
        for (int h = 0; h < 2; h++) {
          mass[h] = QuadSum(mass[h]);
          const bool mine = row + 8 * h >= order.first && row + 8 * h < order.last;
          wanted |= mine && mass[h] >= params.tau * (rows.sum[h] + mass[h]);
        }
        read = __shfl_sync(0xffffffff, static_cast<int>(AnyOfWarpgroup(kWarpgroupBarrier + warpgroup, wanted)), 0) != 0;
        if (read) record_read(block);
        reads += read;
      }
#pragma unroll
      for (int h = 0; h < 2; h++) rows.sum[h] += !kSecondLook || read ? mass[h] : 0.0f;
      PackWeights(s, p);
      if (rescale) {
#pragma unroll
        for (int j = 0; j < kAccumulators; j++) o[j] *= factor[(j >> 1) & 1];
      }
    }
    if (!kSecondLook || read) add_values(o, p, ring.stage);
    WgmmaWait<0>();
    release(ring.stage);
    ring.Advance();

    NamedBarrierSync(kWarpgroupBarrier + warpgroup, 128);
    if (!kSecondLook) {
      rows.sum[0] = QuadSum(rows.sum[0]);
      rows.sum[1] = QuadSum(rows.sum[1]);
    }
    StoreRows<kChannels>(params, order, q, o, rows.sum, warpgroup, warp);
    if (kSecondLook && params.read_count && warp == 0 && lane == 0) params.read_count[2 * static_cast<int64_t>(order.index) + warpgroup] = reads;
    ProxyFence();
    __syncwarp();
    if (lane == 0) BarrierArrive(&shared.q_empty[slot.stage]);
    slot.Advance();
  }
}

template <typename Cursor, bool kSecondLook, int kChannels>
__global__ void __launch_bounds__(kThreads, 1)
    PrefillAttentionKernel(const __grid_constant__ PrefillAttention params, const __grid_constant__ CUtensorMap q_map) {
  extern __shared__ uint8_t raw[];
  auto& shared = *reinterpret_cast<SharedMemory<kChannels>*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  if (threadIdx.x == 0) {
    PrefetchTensorMap(&q_map);
    for (int i = 0; i < 2; i++) {
      BarrierInit(&shared.q_full[i], 1);
      BarrierInit(&shared.q_empty[i], kComputeWarps);
    }
    for (int i = 0; i < kStages; i++) {
      BarrierInit(&shared.full[i], 1);
      BarrierInit(&shared.empty[i], kComputeWarps);
    }
    BarrierInitFence();
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x / 128), 0);
  if (warpgroup == 0) {
    LowerRegisters<kProducerRegisters>();
    if (threadIdx.x < 32) Produce<Cursor, kChannels>(params, &q_map, shared);
  } else {
    RaiseRegisters<kComputeRegisters>();
    Compute<kSecondLook, kChannels>(params, shared, warpgroup - 1);
  }
}

template <int kChannels, typename Cursor, bool kSecondLook>
cudaError_t Launch(const PrefillAttention& params, const CUtensorMap& q_map, cudaStream_t stream) {
  constexpr int kSharedBytes = sizeof(SharedMemory<kChannels>) + 1024;
  const auto kernel = PrefillAttentionKernel<Cursor, kSecondLook, kChannels>;
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  int device = 0, processors = 0;
  if ((error = cudaGetDevice(&device)) != cudaSuccess) return error;
  if ((error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) != cudaSuccess) return error;
  const int64_t items = static_cast<int64_t>(params.tile_count) * params.heads;
  const int grid = static_cast<int>(items < processors ? items : processors);
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(params, q_map);
  return cudaGetLastError();
}

template <int kChannels>
cudaError_t LaunchChannels(const PrefillAttention& params, const CUtensorMap& q_map, cudaStream_t stream) {
  if (params.mask && params.tau > 0) return Launch<kChannels, MaskCursor, true>(params, q_map, stream);
  return params.mask ? Launch<kChannels, MaskCursor, false>(params, q_map, stream) : Launch<kChannels, DenseCursor, false>(params, q_map, stream);
}

}  // namespace

cudaError_t HopperPrefillAttention(const PrefillAttention& params, cudaStream_t stream) {
  CUtensorMap q_map;
  const cudaError_t error = MakeQueryMap(&q_map, params.q, params.rows, params.heads, params.head_dim);
  if (error != cudaSuccess) return error;
  return PaddedHeadDim(params.head_dim) == 64 ? LaunchChannels<64>(params, q_map, stream) : LaunchChannels<128>(params, q_map, stream);
}

}  // namespace longshore::cuda
