// A cluster of four thread blocks per (sequence, query head): the threshold that as many groups of eight keys reach as are wanted, the keys that
// reach it, their exact scores, the weights of those that can hold mass, their values. Sink and window are in the same list and always kept. Each
// thread block owns a quarter of the groups; counts, maxima and sums cross the cluster through its shared memory, in the order of ranks.
#include <algorithm>

#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/sketch_choice.cuh"

namespace longshore::cuda {
namespace {

constexpr int kInFlight = 4;    // keys of a row of lanes whose loads are under way
constexpr float kLog2E = 1.4426950408889634f;

// One row of a tile for each kLanes lanes, eight channels a lane.
template <int kDepth>
struct KeyRow {
  static constexpr int kLanes = kDepth / 8;
  static constexpr int kRows = 32 / kLanes;
};

template <int kDepth>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 2) SketchAttendKernel(const SketchDecode params, int capacity) {
  using Row = KeyRow<kDepth>;
  extern __shared__ __align__(16) uint8_t raw[];
  auto& shared = *reinterpret_cast<SharedMemory<kDepth>*>(raw);
  int32_t* places = reinterpret_cast<int32_t*>(raw + sizeof(SharedMemory<kDepth>));  // positions, then pool block * 128 + slot
  float* weights = reinterpret_cast<float*>(places + capacity);
  uint8_t* marks = reinterpret_cast<uint8_t*>(weights + capacity);
  cg::cluster_group cluster = cg::this_cluster();
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, rank = static_cast<int>(cluster.block_rank());
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");  // waited for before the first write to a neighbour, who must have started
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
  at.rank = rank;
  const int keys = at.groups * kGroupKeys;
  const int32_t* table = params.kv.block_table + static_cast<int64_t>(at.sequence) * params.kv.table_stride;

  // Sink and window, or all of a short sequence: this thread block's share of them comes first in its list.
  const int kept_always = keys > 0 ? at.length - (at.range.last - at.range.first) * kBlockTokens : at.length;
  const int share_begin = static_cast<int>(static_cast<int64_t>(kept_always) * rank / kCluster);
  const int share = static_cast<int>(static_cast<int64_t>(kept_always) * (rank + 1) / kCluster) - share_begin;
  for (int i = threadIdx.x; i < share; i += kThreads) {
    const int index = share_begin + i;
    places[i] = keys == 0 || index < at.range.first * kBlockTokens ? index : index + (at.range.last - at.range.first) * kBlockTokens;
  }
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  int parity = 0, listed = 0, rescored = 0;
  if (keys > 0) {
    const int wanted = max(params.min_rescore, static_cast<int>(ceilf(params.rescore * static_cast<float>(keys))));
    int threshold = kLowest;
    if (wanted < keys) threshold = GroupThreshold(at, min(wanted, at.groups), shared);
    int total[1] = {MarkKeys(at, FromOrdered(threshold), marks, shared)};
    ClusterSum(total, shared, parity);
    if (total[0] > 2 * wanted && wanted < keys) {
      threshold = KeyThreshold(at, threshold, wanted, shared, parity);
      MarkKeys(at, FromOrdered(threshold), marks, shared);
      __syncthreads();
    }
    ListKeys(at, marks, places, share, capacity, shared);
    for (int w = 0; w < kWarps; w++) listed += shared.listed[w];
    listed = min(listed, capacity - share);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < share + listed; i += kThreads) places[i] = table[places[i] / kBlockTokens] * kBlockTokens + places[i] % kBlockTokens;
  __syncthreads();

  const int count = share + listed;
  const int channel = lane % Row::kLanes * 8, sub = lane / Row::kLanes;
  const int64_t head_offset = at.head / (params.heads / params.kv_heads) * params.kv.head_stride;
  const auto row_at = [&](const bf16* pool, int place) {
    return *reinterpret_cast<const uint4*>(pool + place / kBlockTokens * params.kv.block_stride + head_offset + TileOffset(place % kBlockTokens, channel));
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
    for (int u = 0; u < kInFlight; u++) key[u] = base + u * kRound < count ? row_at(params.kv.k, places[base + u * kRound]) : make_uint4(0, 0, 0, 0);
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
  if (lane == 0) shared.warp_value[warp] = peak;
  __syncthreads();
  if (warp == 0) {
    peak = lane < kWarps ? shared.warp_value[lane] : -INFINITY;
#pragma unroll
    for (int bit = 1; bit < kWarps; bit *= 2) peak = fmaxf(peak, __shfl_xor_sync(0xffffffff, peak, bit));
    peak = __shfl_sync(0xffffffff, peak, 0);
    if (lane < kCluster) cluster.map_shared_rank(&shared, lane)->exchange.peak[rank] = peak;
  }
  int scored[1] = {threadIdx.x == 0 ? listed : 0};
  ClusterSum(scored, shared, parity);
  rescored = scored[0];
#pragma unroll
  for (int r = 0; r < kCluster; r++) peak = r == 0 ? shared.exchange.peak[0] : fmaxf(peak, shared.exchange.peak[r]);

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
      value[u] = weight[u] > 0 ? row_at(params.kv.v, places[base + u * kRound]) : make_uint4(0, 0, 0, 0);
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
    cluster.map_shared_rank(&shared, 0)->exchange.mass[rank] = total;
  }
  int all_kept[1] = {threadIdx.x < kWarps ? shared.warp_kept[threadIdx.x] : 0};
  ClusterSum(all_kept, shared, parity);
  if (rank == 0 && static_cast<int>(threadIdx.x) < params.head_dim) {
    float value = 0, total = 0;
    for (int r = 0; r < kCluster; r++) {
      value += cluster.map_shared_rank(&shared, r)->sum[threadIdx.x];
      total += shared.exchange.mass[r];
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
  const int blocks = (params.max_length + kBlockTokens - 1) / kBlockTokens;
  const int marks = (blocks * kSketchGroups + kCluster * kThreads - 1) / (kCluster * kThreads) * kThreads;  // groups of a thread block: whole segments
  const int shared_bytes = static_cast<int>(sizeof(SharedMemory<kDepth>)) + capacity * 8 + marks;
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
