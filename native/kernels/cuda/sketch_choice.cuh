// How the thread blocks of a cluster choose a query head's keys: the threshold that as many groups of eight keys reach as are wanted, then the keys that
// reach it, in order. Each thread block owns every fourth segment of the groups; counts cross the cluster through shared memory.
#pragma once

#include <cooperative_groups.h>

#include "kernels/cuda/sketch_kernels.h"

namespace longshore::cuda {

namespace cg = cooperative_groups;

constexpr int kCluster = 4;
constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kProbes = 3;      // thresholds tried at a time
constexpr int kLowest = 0x03ff, kAboveAll = 0x10000;  // fp16 by order: -infinity, past NaN
constexpr uint32_t kNobody = 0x7fff7fff;                // two NaNs: reach no threshold

// fp16 in the order of values as unsigned integers.
__device__ __forceinline__ __half FromOrdered(int u) {
  return __ushort_as_half(static_cast<unsigned short>(u & 0x8000 ? u & 0x7fff : ~u));
}

// What the thread blocks of a cluster tell each other: each writes its own row in everybody's copy.
struct Exchange {
  int counts[2][kCluster][kProbes];  // [parity][rank]
  float peak[kCluster];
  float mass[kCluster];
};

template <int kDepth>
struct SharedMemory {
  Exchange exchange;
  int warp_counts[kProbes][kWarps];
  int found[2][kProbes][kWarps];
  int listed[kWarps];
  float part[kWarps][kDepth];
  float sum[kDepth];
  float warp_value[kWarps];
  int warp_kept[kWarps];
};

struct Head {
  int sequence, head, length;
  SketchRange range;
  int groups;   // of the scanned blocks
  int segment;  // groups of a warp's share; warps of the cluster's thread blocks take turns, since what is listed clusters
  int rank;
  const __half* scores;  // of the first scanned block
  const __half* best;
};

// Adds counts[] of all threads of the cluster. What was written to anybody's shared memory before it can be read after it.
template <int kCounts, int kDepth>
__device__ __forceinline__ void ClusterSum(int (&counts)[kCounts], SharedMemory<kDepth>& shared, int& parity) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  cg::cluster_group cluster = cg::this_cluster();
#pragma unroll
  for (int i = 0; i < kCounts; i++) {
    const int sum = __reduce_add_sync(0xffffffff, counts[i]);
    if (lane == 0) shared.warp_counts[i][warp] = sum;
  }
  __syncthreads();
  if (warp < kCounts) {
    const int sum = __reduce_add_sync(0xffffffff, lane < kWarps ? shared.warp_counts[warp][lane] : 0);
    if (lane < kCluster) cluster.map_shared_rank(&shared, lane)->exchange.counts[parity][cluster.block_rank()][warp] = sum;
  }
  cluster.sync();
#pragma unroll
  for (int i = 0; i < kCounts; i++) {
    counts[i] = 0;
#pragma unroll
    for (int r = 0; r < kCluster; r++) counts[i] += shared.exchange.counts[parity][r][i];
  }
  parity ^= 1;
}

// Adds, for each probe, how many of eight halves reach it: exact up to 2,048 in each half.
template <int kCounts>
__device__ __forceinline__ void CountEight(const uint4& eight, const __half2 (&probes)[kCounts], __half2 (&counts)[kCounts]) {
  const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
  for (int i = 0; i < kCounts; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) counts[i] = __hadd2(counts[i], __hge2(reinterpret_cast<const __half2&>(words[j]), probes[i]));
  }
}

// The highest threshold found that at least `wanted` reach, no closer than a sixteenth above `wanted` unless there are ties. `count` fills in how many reach each probe.
template <typename Count>
__device__ __forceinline__ int FindThreshold(int lowest, int wanted, const Count& count) {
  int low = lowest, high = kAboveAll;
  while (high - low > 1) {
    const int from = low, step = (high - low + kProbes) / (kProbes + 1);
    __half2 probes[kProbes];
#pragma unroll
    for (int i = 0; i < kProbes; i++) probes[i] = __half2half2(FromOrdered(min(from + (i + 1) * step, kAboveAll - 1)));
    int counts[kProbes] = {};
    count(probes, counts);
    int reached = -1;
#pragma unroll
    for (int i = kProbes - 1; i >= 0; i--) {
      const int probe = from + (i + 1) * step;
      if (probe >= high || reached >= 0) continue;
      if (counts[i] >= wanted) {
        low = probe;
        reached = counts[i];
      } else {
        high = probe;
      }
    }
    if (reached >= 0 && reached <= wanted + wanted / 16) break;
  }
  return low;
}

// Over the best scores of all groups of the head. Every thread block of the cluster does it for itself: telling each other costs more than counting.
template <int kDepth>
__device__ __forceinline__ int GroupThreshold(const Head& at, int wanted, SharedMemory<kDepth>& shared) {
  constexpr int kKept = 4;  // of a thread's eights stay in registers
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, eights = at.groups / 8;
  const uint4* best = reinterpret_cast<const uint4*>(at.best);
  uint4 mine[kKept];
#pragma unroll
  for (int u = 0; u < kKept; u++) {
    const int i = static_cast<int>(threadIdx.x) + u * kThreads;
    mine[u] = i < eights ? best[i] : make_uint4(kNobody, kNobody, kNobody, kNobody);
  }
  int parity = 0;
  return FindThreshold(kLowest, wanted, [&](const __half2 (&probes)[kProbes], int (&counts)[kProbes]) {
    __half2 reach[kProbes] = {};
#pragma unroll
    for (int u = 0; u < kKept; u++) CountEight(mine[u], probes, reach);
    for (int i = static_cast<int>(threadIdx.x) + kKept * kThreads; i < eights; i += kThreads) CountEight(best[i], probes, reach);
#pragma unroll
    for (int i = 0; i < kProbes; i++) {
      const int sum = __reduce_add_sync(0xffffffff, static_cast<int>(__low2float(reach[i]) + __high2float(reach[i])));
      if (lane == 0) shared.found[parity][i][warp] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kProbes; i++) counts[i] = __reduce_add_sync(0xffffffff, shared.found[parity][i][lane % kWarps]) / (32 / kWarps);
    parity ^= 1;
  });
}

// Over the keys of the groups that reach `lowest`: only where these groups hold far more keys than are wanted.
template <int kDepth>
__device__ __forceinline__ int KeyThreshold(const Head& at, int lowest, int wanted, SharedMemory<kDepth>& shared, int& parity) {
  const __half least = FromOrdered(lowest);
  return FindThreshold(lowest, wanted, [&](const __half2 (&probes)[kProbes], int (&counts)[kProbes]) {
    __half2 reach[kProbes] = {};
    for (int i = threadIdx.x; i < kWarps * at.segment; i += kThreads) {
      const int group = (i / at.segment * kCluster + at.rank) * at.segment + i % at.segment;
      if (group < at.groups && __hge(at.best[group], least)) CountEight(*reinterpret_cast<const uint4*>(at.scores + static_cast<int64_t>(group) * kGroupKeys), probes, reach);
    }
#pragma unroll
    for (int i = 0; i < kProbes; i++) counts[i] = static_cast<int>(__low2float(reach[i]) + __high2float(reach[i]));
    ClusterSum(counts, shared, parity);
  });
}

// Marks this thread block's keys at or above the threshold, a byte for each group, and leaves each warp's count in shared.listed. A warp owns a segment.
template <int kDepth>
__device__ __forceinline__ int MarkKeys(const Head& at, __half least, uint8_t* marks, SharedMemory<kDepth>& shared) {
  constexpr int kBatch = 8;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int begin = (warp * kCluster + at.rank) * at.segment, end = min(begin + at.segment, at.groups);
  const __half2 probe = __half2half2(least);
  int total = 0;
  for (int base = begin + lane; base < end; base += 32 * kBatch) {
    bool reached[kBatch];
    uint4 eight[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; u++) reached[u] = base + 32 * u < end && __hge(at.best[min(base + 32 * u, end - 1)], least);
#pragma unroll
    for (int u = 0; u < kBatch; u++)
      eight[u] = reached[u] ? *reinterpret_cast<const uint4*>(at.scores + static_cast<int64_t>(base + 32 * u) * kGroupKeys) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int u = 0; u < kBatch; u++) {
      const uint32_t words[4] = {eight[u].x, eight[u].y, eight[u].z, eight[u].w};
      uint32_t bits = 0;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const uint32_t reach = __hge2_mask(reinterpret_cast<const __half2&>(words[j]), probe);
        bits |= (reach & 1) << (2 * j) | (reach >> 31) << (2 * j + 1);
      }
      bits = reached[u] ? bits : 0;
      if (base + 32 * u < end) marks[warp * at.segment + base + 32 * u - begin] = static_cast<uint8_t>(bits);
      total += __popc(bits);
    }
  }
  total = __reduce_add_sync(0xffffffff, total);
  if (lane == 0) shared.listed[warp] = total;
  return lane == 0 ? total : 0;
}

// The marked keys' positions in the sequence, in the order of groups, behind the first `offset` entries of the list, up to `capacity`.
template <int kDepth>
__device__ __forceinline__ void ListKeys(const Head& at, const uint8_t* marks, int32_t* list, int offset, int capacity,
                                         const SharedMemory<kDepth>& shared) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int begin = (warp * kCluster + at.rank) * at.segment, end = min(begin + at.segment, at.groups);
  for (int w = 0; w < warp; w++) offset += shared.listed[w];
  for (int base = begin; base < end; base += 32) {
    const int group = base + lane;
    uint32_t bits = group < end ? marks[warp * at.segment + group - begin] : 0;
    const int mine = __popc(bits);
    int through = mine;
#pragma unroll
    for (int bit = 1; bit < 32; bit *= 2) {
      const int other = __shfl_up_sync(0xffffffff, through, bit);
      through += lane >= bit ? other : 0;
    }
    int to = offset + through - mine;
    const int first = (at.range.first + group / kSketchGroups) * kBlockTokens + group % kSketchGroups;
    for (; bits != 0; bits &= bits - 1, to++)
      if (to < capacity) list[to] = first + kSketchGroups * (__ffs(bits) - 1);
    offset += __shfl_sync(0xffffffff, through, 31);
  }
}

}  // namespace longshore::cuda
