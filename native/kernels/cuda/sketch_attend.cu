// A cluster of four thread blocks per (sequence, query head): the threshold that as many groups of eight keys reach as are wanted, the keys that
// reach it, their exact scores, the weights of those that can hold mass, their values. Sink and window are in the same list and always kept. Each
// thread block owns a quarter of the groups; counts, maxima and sums cross the cluster through its shared memory, in the order of ranks.
#include <algorithm>

#include <cooperative_groups.h>

#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/sketch_kernels.h"

namespace longshore::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kCluster = 4;
constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kProbes = 7;      // thresholds tried at a time
constexpr int kInFlight = 4;    // keys of a row of lanes whose loads are under way
constexpr float kLog2E = 1.4426950408889634f;
constexpr int kLowest = 0x03ff, kAboveAll = 0x10000;  // fp16 by order: -infinity, past NaN

// fp16 in the order of values as unsigned integers.
__device__ __forceinline__ __half FromOrdered(int u) {
  return __ushort_as_half(static_cast<unsigned short>(u & 0x8000 ? u & 0x7fff : ~u));
}

struct Exchange {
  int counts[2][kWarps][kProbes + 1];  // [parity][warp]
  float peak[2][kWarps];
  float mass;
};

template <int kDepth>
struct SharedMemory {
  Exchange exchange;
  int listed[kWarps];
  float part[kWarps][kDepth];
  float sum[kDepth];
  float warp_value[kWarps];
  int warp_kept[kWarps];
};

struct Head {
  int sequence, head, length;
  SketchRange range;
  int groups, first_group, end_group, segment;  // of the scanned blocks; this thread block's; a warp's share
  const __half* scores;  // of the first scanned block
  const __half* best;
};

// Adds counts[] of all threads of the cluster.
template <int kCounts>
__device__ __forceinline__ void ClusterSum(int (&counts)[kCounts], Exchange& exchange, int& parity) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
  for (int i = 0; i < kCounts; i++) {
    counts[i] = __reduce_add_sync(0xffffffff, counts[i]);
    if (lane == i) exchange.counts[parity][warp][i] = counts[i];
  }
  cg::cluster_group cluster = cg::this_cluster();
  cluster.sync();
  static_assert(kCluster * kWarps == 64);
#pragma unroll
  for (int i = 0; i < kCounts; i++) {
    const int mine = cluster.map_shared_rank(&exchange, lane / kWarps)->counts[parity][lane % kWarps][i] +
                     cluster.map_shared_rank(&exchange, 2 + lane / kWarps)->counts[parity][lane % kWarps][i];
    counts[i] = __reduce_add_sync(0xffffffff, mine);
  }
  parity ^= 1;
}

// Counts of this thread's share of best scores (or, with kKeys, of keys in groups whose best reaches `least`) at or above each probe.
template <bool kKeys>
__device__ __forceinline__ void CountAtLeast(const Head& at, __half least, const __half2 (&probes)[kProbes], int (&counts)[kProbes]) {
#pragma unroll
  for (int i = 0; i < kProbes; i++) counts[i] = 0;
  const int step = kKeys ? kThreads : 8 * kThreads;
  for (int group = at.first_group + static_cast<int>(threadIdx.x) * (kKeys ? 1 : 8); group < at.end_group; group += step) {
    if (kKeys && !(__hge(at.best[group], least))) continue;
    const uint4 eight = *reinterpret_cast<const uint4*>(kKeys ? at.scores + static_cast<int64_t>(group) * kGroupKeys : at.best + group);
    const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int i = 0; i < kProbes; i++) {
      __half2 sum = __hge2(reinterpret_cast<const __half2&>(words[0]), probes[i]);
#pragma unroll
      for (int j = 1; j < 4; j++) sum = __hadd2(sum, __hge2(reinterpret_cast<const __half2&>(words[j]), probes[i]));
      counts[i] += static_cast<int>(__low2float(sum) + __high2float(sum));
    }
  }
}

// The highest threshold found that at least `wanted` reach; no closer than a sixteenth above `wanted` unless there are ties.
template <bool kKeys>
__device__ __forceinline__ int FindThreshold(const Head& at, int lowest, int wanted, Exchange& exchange, int& parity) {
  int low = lowest, high = kAboveAll;
  while (high - low > 1) {
    const int step = (high - low + kProbes) / (kProbes + 1);
    __half2 probes[kProbes];
#pragma unroll
    for (int i = 0; i < kProbes; i++) probes[i] = __half2half2(FromOrdered(min(low + (i + 1) * step, kAboveAll - 1)));
    int counts[kProbes];
    CountAtLeast<kKeys>(at, FromOrdered(lowest), probes, counts);
    ClusterSum(counts, exchange, parity);
    int reached = -1, from = low, to = high;
#pragma unroll
    for (int i = 0; i < kProbes; i++) {
      const int probe = from + (i + 1) * step;
      if (probe >= high) continue;
      if (counts[i] >= wanted) {
        low = probe;
        reached = counts[i];
      } else {
        to = min(to, probe);
      }
    }
    high = to;
    if (reached >= 0 && reached <= wanted + wanted / 16) break;
  }
  return low;
}

// This thread block's keys at or above the threshold, in order, behind the first `offset` entries of its list; returns how many there are, of
// which at most `capacity - offset` are listed. With list = null it only counts.
template <int kDepth>
__device__ __forceinline__ int ListKeys(const Head& at, __half least, int32_t* list, int offset, int capacity, SharedMemory<kDepth>& shared) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int begin = at.first_group + warp * at.segment, end = min(begin + at.segment, at.end_group);
  const __half2 probe = __half2half2(least);
  if (list)
    for (int w = 0; w < warp; w++) offset += shared.listed[w];
  int total = 0;
  for (int base = begin; base < end; base += 32) {
    const int group = base + lane;
    uint32_t bits = 0;
    if (group < end && __hge(at.best[group], least)) {
      const uint4 eight = *reinterpret_cast<const uint4*>(at.scores + static_cast<int64_t>(group) * kGroupKeys);
      const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const uint32_t reach = __hge2_mask(reinterpret_cast<const __half2&>(words[j]), probe);
        bits |= (reach & 1) << (2 * j) | (reach >> 31) << (2 * j + 1);
      }
    }
    const int mine = __popc(bits);
    if (list) {
      int before = mine;
#pragma unroll
      for (int bit = 1; bit < 32; bit *= 2) {
        const int other = __shfl_up_sync(0xffffffff, before, bit);
        before += lane >= bit ? other : 0;
      }
      int to = offset + total + before - mine;
      for (; bits != 0; bits &= bits - 1, to++) {
        if (to < capacity) list[to] = (at.range.first + group / kSketchGroups) * kBlockTokens + group % kSketchGroups + kSketchGroups * (__ffs(bits) - 1);
      }
    }
    total += __reduce_add_sync(0xffffffff, mine);
  }
  if (!list) {
    if (lane == 0) shared.listed[warp] = total;
  }
  return total;
}

// One row of a tile for each kLanes lanes, eight channels a lane.
template <int kDepth>
struct KeyRow {
  static constexpr int kLanes = kDepth / 8;
  static constexpr int kRows = 32 / kLanes;
};

template <int kDepth>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1) SketchAttendKernel(const SketchDecode params, int capacity) {
  using Row = KeyRow<kDepth>;
  extern __shared__ __align__(16) uint8_t raw[];
  auto& shared = *reinterpret_cast<SharedMemory<kDepth>*>(raw);
  int32_t* tokens = reinterpret_cast<int32_t*>(raw + sizeof(SharedMemory<kDepth>));
  float* weights = reinterpret_cast<float*>(tokens + capacity);
  cg::cluster_group cluster = cg::this_cluster();
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, rank = static_cast<int>(cluster.block_rank());
  asm volatile("griddepcontrol.wait;" ::: "memory");
  Head at;
  at.sequence = static_cast<int>(blockIdx.x) / kCluster / params.heads;
  at.head = static_cast<int>(blockIdx.x) / kCluster % params.heads;
  at.length = params.lengths[at.sequence];
  at.range = ScannedBlocks(params, at.length);
  const SketchScores workspace = ScoresOf(params);
  const int64_t first_block = (static_cast<int64_t>(at.sequence) * params.heads + at.head) * workspace.max_blocks + at.range.first;
  at.scores = workspace.scores + first_block * kBlockTokens;
  at.best = workspace.best + first_block * kSketchGroups;
  at.groups = (at.range.last - at.range.first) * kSketchGroups;
  at.segment = ((at.groups + kCluster * kWarps - 1) / (kCluster * kWarps) + 31) / 32 * 32;
  at.first_group = min(at.groups, rank * kWarps * at.segment);
  at.end_group = min(at.groups, (rank + 1) * kWarps * at.segment);
  const int keys = at.groups * kGroupKeys;

  // Sink and window, or all of a short sequence: this thread block's share of them comes first in its list.
  const int kept_always = keys > 0 ? at.length - (at.range.last - at.range.first) * kBlockTokens : at.length;
  const int share_begin = static_cast<int>(static_cast<int64_t>(kept_always) * rank / kCluster);
  const int share = static_cast<int>(static_cast<int64_t>(kept_always) * (rank + 1) / kCluster) - share_begin;
  for (int i = threadIdx.x; i < share; i += kThreads) {
    const int index = share_begin + i;
    tokens[i] = keys == 0 || index < at.range.first * kBlockTokens ? index : index + (at.range.last - at.range.first) * kBlockTokens;
  }
  int parity = 0, listed = 0, rescored = 0;
  if (keys > 0) {
    const int wanted = max(params.min_rescore, static_cast<int>(ceilf(params.rescore * static_cast<float>(keys))));
    int threshold = kLowest;
    if (wanted < keys) threshold = FindThreshold<false>(at, kLowest, min(wanted, at.groups), shared.exchange, parity);
    int total[1] = {ListKeys(at, FromOrdered(threshold), nullptr, 0, 0, shared)};
    total[0] = lane == 0 ? total[0] : 0;
    ClusterSum(total, shared.exchange, parity);
    if (total[0] > 2 * wanted && wanted < keys) {
      threshold = FindThreshold<true>(at, threshold, wanted, shared.exchange, parity);
      ListKeys(at, FromOrdered(threshold), nullptr, 0, 0, shared);
      __syncthreads();
    }
    ListKeys(at, FromOrdered(threshold), tokens, share, capacity, shared);
    for (int w = 0; w < kWarps; w++) listed += shared.listed[w];
    listed = min(listed, capacity - share);
  }
  __syncthreads();

  const int count = share + listed;
  const int channel = lane % Row::kLanes * 8, sub = lane / Row::kLanes;
  const int32_t* table = params.kv.block_table + static_cast<int64_t>(at.sequence) * params.kv.table_stride;
  const int64_t head_offset = at.head / (params.heads / params.kv_heads) * params.kv.head_stride;
  const auto row_at = [&](const bf16* pool, int token) {
    return *reinterpret_cast<const uint4*>(pool + table[token / kBlockTokens] * params.kv.block_stride + head_offset +
                                           TileOffset(token % kBlockTokens, channel));
  };
  float q[8];
#pragma unroll
  for (int i = 0; i < 8; i++)
    q[i] = channel < params.head_dim
               ? __bfloat162float(params.q[(static_cast<int64_t>(at.sequence) * params.heads + at.head) * params.head_dim + channel + i]) * (params.scale * kLog2E)
               : 0.0f;

  constexpr int kRound = kWarps * Row::kRows;
  float peak = -INFINITY;
  for (int base = warp * Row::kRows + sub; base - sub < count; base += kInFlight * kRound) {
    uint4 key[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; u++) key[u] = base + u * kRound < count ? row_at(params.kv.k, tokens[base + u * kRound]) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int u = 0; u < kInFlight; u++) {
      const uint32_t words[4] = {key[u].x, key[u].y, key[u].z, key[u].w};
      float dot = 0;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float2 pair = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(words[j]));
        dot = fmaf(pair.x, q[2 * j], fmaf(pair.y, q[2 * j + 1], dot));
      }
#pragma unroll
      for (int bit = 1; bit < Row::kLanes; bit *= 2) dot += __shfl_xor_sync(0xffffffff, dot, bit);
      if (base + u * kRound < count) {
        peak = fmaxf(peak, dot);
        if (channel == 0) weights[base + u * kRound] = dot;
      }
    }
  }
#pragma unroll
  for (int bit = Row::kLanes; bit < 32; bit *= 2) peak = fmaxf(peak, __shfl_xor_sync(0xffffffff, peak, bit));
  if (lane == 0) shared.exchange.peak[0][warp] = peak;
  int scored[1] = {threadIdx.x == 0 ? listed : 0};
  ClusterSum(scored, shared.exchange, parity);
  rescored = scored[0];
  peak = fmaxf(cluster.map_shared_rank(&shared.exchange, lane / kWarps)->peak[0][lane % kWarps],
               cluster.map_shared_rank(&shared.exchange, 2 + lane / kWarps)->peak[0][lane % kWarps]);
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) peak = fmaxf(peak, __shfl_xor_sync(0xffffffff, peak, bit));

  // What is lighter than its even share of the mass that may be lost: all of it together holds less.
  const float cut = peak - log2f(static_cast<float>(max(1, rescored)) / (1.0f - params.keep));
  float mass = 0;
  int kept = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const float score = weights[i];
    const float weight = i < share || score >= cut ? Exp2(score - peak) : 0.0f;
    weights[i] = weight;
    mass += weight;
    kept += i >= share && score >= cut;
  }
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) mass += __shfl_xor_sync(0xffffffff, mass, bit);
  kept = __reduce_add_sync(0xffffffff, kept);
  if (lane == 0) {
    shared.warp_value[warp] = mass;
    shared.warp_kept[warp] = kept;
  }
  __syncthreads();

  float o[8] = {};
  for (int base = warp * Row::kRows + sub; base < count; base += kInFlight * kRound) {
    uint4 value[kInFlight];
    float weight[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; u++) {
      weight[u] = base + u * kRound < count ? weights[base + u * kRound] : 0.0f;
      value[u] = weight[u] > 0 ? row_at(params.kv.v, tokens[base + u * kRound]) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int u = 0; u < kInFlight; u++) {
      const uint32_t words[4] = {value[u].x, value[u].y, value[u].z, value[u].w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float2 pair = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(words[j]));
        o[2 * j] = fmaf(weight[u], pair.x, o[2 * j]);
        o[2 * j + 1] = fmaf(weight[u], pair.y, o[2 * j + 1]);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 8; i++) {
#pragma unroll
    for (int bit = Row::kLanes; bit < 32; bit *= 2) o[i] += __shfl_xor_sync(0xffffffff, o[i], bit);
    if (sub == 0) shared.part[warp][channel + i] = o[i];
  }
  __syncthreads();
  if (threadIdx.x < kDepth) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w++) total += shared.part[w][threadIdx.x];
    shared.sum[threadIdx.x] = total;
  }
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < kWarps; w++) total += shared.warp_value[w];
    shared.exchange.mass = total;
  }
  int all_kept[1] = {threadIdx.x < kWarps ? shared.warp_kept[threadIdx.x] : 0};
  ClusterSum(all_kept, shared.exchange, parity);
  if (rank == 0 && static_cast<int>(threadIdx.x) < params.head_dim) {
    float value = 0, total = 0;
    for (int r = 0; r < kCluster; r++) {
      value += cluster.map_shared_rank(&shared, r)->sum[threadIdx.x];
      total += cluster.map_shared_rank(&shared, r)->exchange.mass;
    }
    params.out[(static_cast<int64_t>(at.sequence) * params.heads + at.head) * params.head_dim + threadIdx.x] = __float2bfloat16(value / total);
    if (params.counts && threadIdx.x == 0) {
      int32_t* counts = params.counts + 2 * (static_cast<int64_t>(at.sequence) * params.heads + at.head);
      counts[0] = rescored;
      counts[1] = all_kept[0];
    }
  }
  cluster.sync();  // before a neighbour's shared memory is gone
}

// Entries of a thread block's list: its share of what is always attended, and the keys listed, all of which may be its own.
int Capacity(const SketchDecode& params) {
  const int64_t always = std::max<int64_t>(std::min(params.min_tokens, params.max_length), params.sink_tokens + params.window_tokens + 3 * kBlockTokens);
  const int64_t wanted = std::max<int64_t>(params.min_rescore, static_cast<int64_t>(params.rescore * static_cast<float>(params.max_length)) + 1);
  const int64_t listed = std::min<int64_t>(2 * wanted + 256, params.max_length);
  return static_cast<int>(std::min<int64_t>((always / kCluster + 2 + listed + 3) / 4 * 4, kMaxSketchList));
}

template <int kDepth>
cudaError_t Launch(const SketchDecode& params, cudaStream_t stream) {
  const int capacity = Capacity(params);
  const int shared_bytes = static_cast<int>(sizeof(SharedMemory<kDepth>)) + capacity * 8;
  const cudaError_t error = cudaFuncSetAttribute(SketchAttendKernel<kDepth>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = params.sequences * params.heads * kCluster;
  config.blockDim = kThreads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, SketchAttendKernel<kDepth>, params, capacity);
}

}  // namespace

cudaError_t LaunchSketchAttend(const SketchDecode& params, cudaStream_t stream) {
  return SketchDepth(params.head_dim) == 64 ? Launch<64>(params, stream) : Launch<128>(params, stream);
}

}  // namespace longshore::cuda
