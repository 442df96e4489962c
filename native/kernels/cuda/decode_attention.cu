// Split-KV decode, bound by the bytes of the keys and values. Persistent thread blocks of nine warps: one feeds blocks of keys and values
// through a ring of 64 KB stages, eight compute, each on its own 16 of a block's 128 tokens with its own online softmax; they
// merge once per split. A second kernel, started early, merges the splits: a fence and a counter in the first one would stall
// the computing warps once per split. The query heads of a kv head are the rows of 16 x 8 x 16 tensor-core products, of which half are empty: the arithmetic still takes a tenth of the copies' time.
#include "kernels/cuda/hopper_kernels.h"

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/decode_splits.h"
#include "kernels/cuda/online_softmax.cuh"

namespace longshore::cuda {
namespace {

constexpr int kStages = 3;
constexpr int kComputeWarps = 8;
constexpr int kThreads = 32 * (kComputeWarps + 1);
constexpr int kMaxServed = 128;          // channels
constexpr int kComputeBarrier = 1;
constexpr int kMergeThreads = 256;
constexpr int kMergeShares = kMergeThreads / 32;  // warps that share the splits of a head

// kChannels: head_dim padded to whole panels.
template <int kChannels>
struct SharedMemory {
  alignas(1024) bf16 kv[kStages][2][TileElements(kChannels)];
  float merge[kComputeWarps][kMaxGroup][kChannels];
  float reference[kComputeWarps][kMaxGroup], sum[kComputeWarps][kMaxGroup];
  uint64_t full[kStages], empty[kStages];
};

// One split of one (sequence, kv head).
struct Split {
  int sequence, kv_head, split, splits, first_block, last_block, length;
};

// Work item -> split; false where the sequence is too short to have it. The kv heads of a split follow each other: their tiles of a
// block are neighbours in memory, and multiprocessors that read the same pages at the same time spare the address translation.
__device__ __forceinline__ bool FindSplit(const DecodeAttention& params, int max_splits, int item, Split& at) {
  at.kv_head = item % params.kv_heads;
  at.split = item / params.kv_heads % max_splits;
  at.sequence = item / (max_splits * params.kv_heads);
  at.length = params.lengths[at.sequence];
  const int blocks = (at.length + kBlockTokens - 1) / kBlockTokens, per_split = SplitBlocks(blocks, params.kv_heads);
  at.splits = (blocks + per_split - 1) / per_split;
  at.first_block = at.split * per_split;
  at.last_block = at.first_block + per_split < blocks ? at.first_block + per_split : blocks;
  return at.split < at.splits;
}

template <int kChannels>
__device__ __forceinline__ void Produce(const DecodeAttention& params, SharedMemory<kChannels>& shared, int items, int max_splits) {
  constexpr int kTileBytes = TileBytes(kChannels);
  const int lane = threadIdx.x & 31;
  RingPosition<kStages> ring;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    Split at;
    if (!FindSplit(params, max_splits, item, at)) continue;
    const int32_t* table = params.kv.block_table + static_cast<int64_t>(at.sequence) * params.kv.table_stride;
    const int count = at.last_block - at.first_block;
    const int entry = lane < count ? table[at.first_block + lane] : 0;  // a split has at most 16 blocks
    for (int i = 0; i < count; i++) {
      const int64_t offset = __shfl_sync(0xffffffff, entry, i) * params.kv.block_stride + at.kv_head * params.kv.head_stride;
      if (lane == 0) {
        BarrierWait(&shared.empty[ring.stage], ring.parity ^ 1);
        BarrierArriveExpect(&shared.full[ring.stage], 2 * kTileBytes);
        BulkCopy(shared.kv[ring.stage][0], params.kv.k + offset, kTileBytes, &shared.full[ring.stage]);
        BulkCopy(shared.kv[ring.stage][1], params.kv.v + offset, kTileBytes, &shared.full[ring.stage]);
      }
      ring.Advance();
    }
  }
}

__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// d += a b for a 16 x 16 whose rows 8..15 are zero, b 16 x 8.
__device__ __forceinline__ void Multiply(float (&d)[4], uint32_t a0, uint32_t a2, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(0), "r"(a2), "r"(0), "r"(b0), "r"(b1));
}

// [sequences][heads][max_splits] (reference in base-2 exponents, sum), after the weighted values of the same shape x head_dim.
__device__ __forceinline__ float2* Statistics(const DecodeAttention& params, int max_splits) {
  return reinterpret_cast<float2*>(params.partial + static_cast<int64_t>(params.sequences) * params.heads * max_splits * params.head_dim);
}

template <int kChannels>
__device__ __forceinline__ void Compute(const DecodeAttention& params, SharedMemory<kChannels>& shared, int items, int max_splits) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, c = lane & 3;
  const int group = params.heads / params.kv_heads;
  const float log2_scale = params.scale * 1.4426950408889634f;
  RingPosition<kStages> ring;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    Split at;
    if (!FindSplit(params, max_splits, item, at)) continue;
    const int64_t first_head = static_cast<int64_t>(at.sequence) * params.heads + at.kv_head * group;
    uint32_t q[kChannels / 16][2] = {};
    if (g < group) {
      const uint32_t* row = reinterpret_cast<const uint32_t*>(params.q + (first_head + g) * params.head_dim);
#pragma unroll
      for (int k = 0; k < kChannels / 16; k++) {
        if (16 * k >= params.head_dim) break;
        q[k][0] = row[8 * k + c];
        q[k][1] = row[8 * k + 4 + c];
      }
    }
    float o[kChannels / 8][4] = {};
    float reference = -INFINITY, sum = 0;
    for (int block = at.first_block; block < at.last_block; block++) {
      BarrierWait(&shared.full[ring.stage], ring.parity);
      const bf16* keys = shared.kv[ring.stage][0];
      const bf16* values = shared.kv[ring.stage][1];
      float s[2][4] = {};
      // Matrices of one load: tokens 0-7 and 8-15 of the warp's, channels +0 and +8.
      const int key_row = 16 * warp + (lane & 7) + (lane & 16 ? 8 : 0), key_channel = lane & 8;
#pragma unroll
      for (int k = 0; k < kChannels / 16; k++) {
        uint32_t b[4];
        LoadMatrices(b, keys + TileOffset(key_row, 16 * k + key_channel));
        Multiply(s[0], q[k][0], q[k][1], b[0], b[1]);
        Multiply(s[1], q[k][0], q[k][1], b[2], b[3]);
      }
      const int token = block * kBlockTokens + 16 * warp + 2 * c;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (token + 8 * (i >> 1) + (i & 1) >= at.length) s[i >> 1][i & 1] = -INFINITY;
      }
      const float peak = fmaxf(reference, QuadMax(fmaxf(fmaxf(s[0][0], s[0][1]), fmaxf(s[1][0], s[1][1]))));
      const float offset = peak == -INFINITY ? 0.0f : peak * log2_scale;  // no token of this warp so far: every weight is 0
      const float factor = Exp2(fmaf(reference, log2_scale, -offset));
      reference = peak;
      float w[4];
#pragma unroll
      for (int i = 0; i < 4; i++) w[i] = Exp2(fmaf(s[i >> 1][i & 1], log2_scale, -offset));
      sum = sum * factor + ((w[0] + w[1]) + (w[2] + w[3]));
      const uint32_t p0 = PackBf16(w[0], w[1]), p2 = PackBf16(w[2], w[3]);
#pragma unroll
      for (int j = 0; j < kChannels / 8; j++) {
        o[j][0] *= factor;
        o[j][1] *= factor;
      }
      const int value_row = 16 * warp + (lane & 15), value_channel = lane & 16 ? 8 : 0;
#pragma unroll
      for (int j = 0; j < kChannels / 16; j++) {
        uint32_t b[4];
        LoadMatricesTransposed(b, values + TileOffset(value_row, 16 * j + value_channel));
        Multiply(o[2 * j], p0, p2, b[0], b[1]);
        Multiply(o[2 * j + 1], p0, p2, b[2], b[3]);
      }
      __syncwarp();
      if (lane == 0) BarrierArrive(&shared.empty[ring.stage]);
      ring.Advance();
    }

    sum = QuadSum(sum);
    if (c == 0) {
      shared.reference[warp][g] = reference;
      shared.sum[warp][g] = sum;
    }
#pragma unroll
    for (int j = 0; j < kChannels / 8; j++) *reinterpret_cast<float2*>(&shared.merge[warp][g][8 * j + 2 * c]) = make_float2(o[j][0], o[j][1]);
    NamedBarrierSync(kComputeBarrier, 32 * kComputeWarps);
    // Several threads per channel: each takes every so many heads.
    const int channel = threadIdx.x % kChannels;
    for (int head = threadIdx.x / kChannels; head < group; head += 32 * kComputeWarps / kChannels) {
      if (channel >= params.head_dim) break;
      float peak = -INFINITY, total = 0, value = 0;
#pragma unroll
      for (int i = 0; i < kComputeWarps; i++) peak = fmaxf(peak, shared.reference[i][head]);
#pragma unroll
      for (int i = 0; i < kComputeWarps; i++) {
        const float weight = Exp2((shared.reference[i][head] - peak) * log2_scale);
        total += weight * shared.sum[i][head];
        value += weight * shared.merge[i][head][channel];
      }
      if (at.splits == 1) {
        params.out[(first_head + head) * params.head_dim + channel] = __float2bfloat16(value / total);
        continue;
      }
      const int64_t row = (first_head + head) * max_splits + at.split;
      params.partial[row * params.head_dim + channel] = value;
      if (channel == 0) Statistics(params, max_splits)[row] = make_float2(peak * log2_scale, total);
    }
    NamedBarrierSync(kComputeBarrier, 32 * kComputeWarps);  // before the next item writes the merge area
  }
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads, 1) DecodeAttentionKernel(const DecodeAttention params, int items, int max_splits) {
  extern __shared__ uint8_t raw[];
  auto& shared = *reinterpret_cast<SharedMemory<kChannels>*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      BarrierInit(&shared.full[i], 1);
      BarrierInit(&shared.empty[i], kComputeWarps);
    }
    BarrierInitFence();
  }
  __syncthreads();
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  if (threadIdx.x < 32 * kComputeWarps) Compute(params, shared, items, max_splits);
  else Produce(params, shared, items, max_splits);
}

// One thread block per (sequence, head): the splits' weighted values -> out, in the order of the splits.
__global__ void __launch_bounds__(kMergeThreads) MergeSplitsKernel(const DecodeAttention params, int max_splits) {
  __shared__ float weight[kMaxSplits];
  __shared__ float merge[kMergeShares][kMaxServed];
  __shared__ float warp_value[kMergeThreads / 32];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int64_t head = blockIdx.x;  // of all sequences
  const int blocks = (params.lengths[head / params.heads] + kBlockTokens - 1) / kBlockTokens, splits = Splits(blocks, params.kv_heads);
  if (splits == 1) return;  // the first kernel wrote it
  asm volatile("griddepcontrol.wait;" ::: "memory");
  const float2* statistics = Statistics(params, max_splits) + head * max_splits;

  float peak = -INFINITY;
  for (int i = lane; i < splits; i += 32) peak = fmaxf(peak, __ldcg(statistics + i).x);
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) peak = fmaxf(peak, __shfl_xor_sync(0xffffffff, peak, bit));
  float total = 0;
  for (int i = threadIdx.x; i < splits; i += kMergeThreads) {
    const float2 row = __ldcg(statistics + i);
    weight[i] = Exp2(row.x - peak);
    total += weight[i] * row.y;
  }
#pragma unroll
  for (int bit = 16; bit > 0; bit >>= 1) total += __shfl_xor_sync(0xffffffff, total, bit);
  if (lane == 0) warp_value[warp] = total;
  __syncthreads();

  const int chunks = params.head_dim / 4;
  const float4* rows = reinterpret_cast<const float4*>(params.partial + head * max_splits * params.head_dim) + lane;
  float4 value = {0, 0, 0, 0};
#pragma unroll 8
  for (int i = warp; i < splits; i += kMergeShares) {
    if (lane >= chunks) break;
    const float4 row = __ldcg(rows + i * chunks);
    value.x += weight[i] * row.x;
    value.y += weight[i] * row.y;
    value.z += weight[i] * row.z;
    value.w += weight[i] * row.w;
  }
  *reinterpret_cast<float4*>(&merge[warp][4 * lane]) = value;
  __syncthreads();
  if (threadIdx.x < params.head_dim) {
    float sum = 0;
    total = 0;
#pragma unroll
    for (int i = 0; i < kMergeShares; i++) {
      sum += merge[i][threadIdx.x];
      total += warp_value[i];
    }
    params.out[head * params.head_dim + threadIdx.x] = __float2bfloat16(sum / total);
  }
}

template <int kChannels>
cudaError_t Launch(const DecodeAttention& params, cudaStream_t stream) {
  const int max_splits = MaxSplits(params.max_length, params.kv_heads);
  const int64_t items = static_cast<int64_t>(params.sequences) * params.kv_heads * max_splits;
  constexpr int kSharedBytes = sizeof(SharedMemory<kChannels>) + 1024;
  cudaError_t error = cudaFuncSetAttribute(DecodeAttentionKernel<kChannels>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  int device = 0, processors = 0;
  if ((error = cudaGetDevice(&device)) != cudaSuccess) return error;
  if ((error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) != cudaSuccess) return error;
  const int grid = static_cast<int>(items < processors ? items : processors);
  DecodeAttentionKernel<kChannels><<<grid, kThreads, kSharedBytes, stream>>>(params, static_cast<int>(items), max_splits);
  if ((error = cudaGetLastError()) != cudaSuccess) return error;
  if (max_splits == 1) return cudaSuccess;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = params.sequences * params.heads;
  config.blockDim = kMergeThreads;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, MergeSplitsKernel, params, max_splits);
}

}  // namespace

cudaError_t HopperDecodeAttention(const DecodeAttention& params, cudaStream_t stream) {
  return PaddedHeadDim(params.head_dim) == 64 ? Launch<64>(params, stream) : Launch<128>(params, stream);
}

}  // namespace longshore::cuda
