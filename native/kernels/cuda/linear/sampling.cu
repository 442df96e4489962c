// A cluster of eight blocks holds a row's logits in shared memory. Filters are cuts in one total order, (logit, lower id first), found bit by
// bit; weights are summed as 2^-43 fixed-point integers, so that no sum depends on the order in which threads come.
#include "kernels/cuda/linear/sampling.h"

#include <cooperative_groups.h>

#include "kernels/cuda/linear/philox.cuh"

namespace longshore::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kBlocks = 8;
constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kIdBits = 20;
constexpr int kOrderBits = 32 + kIdBits;
constexpr double kOne = 0x1p43;

using Wide = unsigned long long;

constexpr int kCutBits = 2;  // found in each round
constexpr int kParts = (1 << kCutBits) - 1;

struct Shared {
  Wide warps[kParts][kWarps];
  Wide slots[2][kParts];  // [turn]: what the other blocks read
};

// Unsigned order of floats.
__device__ __forceinline__ uint32_t OrderedBits(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct SumOfWide {
  __device__ Wide operator()(Wide a, Wide b) const { return a + b; }
};
struct MaxOfWide {
  __device__ Wide operator()(Wide a, Wide b) const { return a > b ? a : b; }
};

class Row {
 public:
  __device__ Row(const Sampling& p, float* logits, Shared* shared)
      : cluster_(cg::this_cluster()), logits_(logits), shared_(shared), share_((p.vocab + kBlocks - 1) / kBlocks) {
    first_ = static_cast<int>(cluster_.block_rank()) * share_;
    count_ = max(0, min(share_, p.vocab - first_));
    const float* from = p.logits + static_cast<int64_t>(blockIdx.x / kBlocks) * p.vocab + first_;
    for (int i = threadIdx.x; i < count_; i += kThreads) logits_[i] = from[i];
    __syncthreads();
  }

  // Each of N values over all blocks and threads; everyone gets the results.
  template <int N, typename Of>
  __device__ void ReduceEach(Wide (&values)[N], Of of) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    turn_ ^= 1;
#pragma unroll
    for (Wide& value : values) value = InWarp(value, of);
    if (lane == 0) {
#pragma unroll
      for (int n = 0; n < N; n++) shared_->warps[n][warp] = values[n];
    }
    __syncthreads();
    if (warp == 0) {
#pragma unroll
      for (int n = 0; n < N; n++) {
        const Wide total = InWarp(shared_->warps[n][lane], of);
        if (lane == 0) shared_->slots[turn_][n] = total;
      }
    }
    cluster_.sync();
#pragma unroll
    for (int n = 0; n < N; n++) {
      values[n] = *cluster_.map_shared_rank(&shared_->slots[turn_][n], 0);
#pragma unroll
      for (int block = 1; block < kBlocks; block++) values[n] = of(values[n], *cluster_.map_shared_rank(&shared_->slots[turn_][n], block));
    }
  }
  template <typename Of>
  __device__ Wide Reduce(Wide value, Of of) {
    Wide values[1] = {value};
    ReduceEach(values, of);
    return values[0];
  }

  __device__ Wide Order(int i) const { return Wide{OrderedBits(logits_[i])} << kIdBits | ((1u << kIdBits) - 1 - (first_ + i)); }
  __device__ int IdOf(Wide order) const { return (1 << kIdBits) - 1 - static_cast<int>(order & ((1u << kIdBits) - 1)); }

  __device__ Wide Weight(int i) const { return static_cast<Wide>(exp((static_cast<double>(logits_[i]) - max_) * inverse_temperature_) * kOne); }
  // Weights of logits at this temperature, relative to the best one's.
  __device__ void WeighBy(double max, double inverse_temperature) { max_ = max, inverse_temperature_ = inverse_temperature; }

  // Sum of measure(i) over this row's elements with low <= order < high.
  template <typename Measure>
  __device__ Wide SumBetween(Wide low, Wide high, const Measure& measure) {
    Wide sum = 0;
    for (int i = threadIdx.x; i < count_; i += kThreads) {
      const Wide order = Order(i);
      if (order >= low && order < high) sum += measure(i);
    }
    return Reduce(sum, SumOfWide{});
  }

  // The largest cut whose elements at or above it measure at least `goal`; at least `floor`.
  template <typename Measure>
  __device__ Wide Cut(Wide floor, Wide goal, const Measure& measure) {
    static_assert(kIdBits % kCutBits == 0 && kOrderBits % kCutBits == 0);
    Wide cut = 0, above = 0;  // the sought one lies in [cut, cut + 2^bit); `above`: what measures past that
    for (int bit = kOrderBits; bit > 0;) {
      if (bit == kIdBits && SumBetween(max(cut, floor), cut + (Wide{1} << bit), [](int) { return Wide{1}; }) <= 1) break;  // no ties to part
      bit -= kCutBits;
      Wide parts[kParts] = {};
      for (int i = threadIdx.x; i < count_; i += kThreads) {
        const Wide order = Order(i);
        const Wide part = (order - cut) >> bit;
        if (order < floor || order < cut || part == 0 || part > kParts) continue;
        const Wide value = measure(i);
#pragma unroll
        for (int n = 0; n < kParts; n++) parts[n] += part == static_cast<Wide>(n + 1) ? value : 0;
      }
      ReduceEach(parts, SumOfWide{});
      int part = kParts;
#pragma unroll
      for (int n = kParts - 1; n >= 0; n--) {
        if (part != n + 1) continue;
        if (above + parts[n] >= goal) continue;
        above += parts[n];
        part = n;
      }
      cut += static_cast<Wide>(part) << bit;
    }
    return max(cut, floor);
  }

  // The first id, in order of ids, at which the weights of elements at or above `cut` have summed to more than target; -1 in other blocks.
  __device__ int Draw(Wide cut, Wide target) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = (count_ + kWarps - 1) / kWarps;
    const int begin = warp * part, end = min(count_, begin + part);
    Wide mine = 0;
    for (int i = begin + lane; i < end; i += 32) mine += Order(i) >= cut ? Weight(i) : 0;
    for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, lanes);
    __syncthreads();
    if (lane == 0) shared_->warps[0][warp] = mine;
    __syncthreads();
    turn_ ^= 1;
    if (threadIdx.x == 0) {
      Wide all = 0;
      for (int w = 0; w < kWarps; w++) all += shared_->warps[0][w];
      shared_->slots[turn_][0] = all;
    }
    cluster_.sync();
    Wide before = 0;
    for (unsigned block = 0; block < cluster_.block_rank(); block++) before += *cluster_.map_shared_rank(&shared_->slots[turn_][0], block);
    for (int w = 0; w < warp; w++) before += shared_->warps[0][w];
    if (before > target || before + mine <= target) return -1;
    for (int i = begin; i < end; i += 32) {
      Wide sum = i + lane < end && Order(i + lane) >= cut ? Weight(i + lane) : 0;
      for (int lanes = 1; lanes < 32; lanes *= 2) {
        const Wide lower = __shfl_up_sync(0xffffffffu, sum, lanes);
        if (lane >= lanes) sum += lower;
      }
      const unsigned past = __ballot_sync(0xffffffffu, before + sum > target);
      if (past != 0) return first_ + i + __ffs(past) - 1;
      before += __shfl_sync(0xffffffffu, sum, 31);
    }
    return -1;
  }

  __device__ int count() const { return count_; }
  __device__ float logit(int i) const { return logits_[i]; }
  __device__ void Leave() { cluster_.sync(); }  // nobody's shared memory may go while others read it

 private:
  template <typename Of>
  __device__ static Wide InWarp(Wide value, Of of) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value = of(value, __shfl_xor_sync(0xffffffffu, value, lanes));
    return value;
  }

  cg::cluster_group cluster_;
  float* logits_;
  Shared* shared_;
  int share_, first_, count_, turn_ = 0;
  double max_ = 0, inverse_temperature_ = 1;
};

__device__ double UniformAt(uint64_t seed, uint64_t position) {
  const uint4 r = PhiloxAt(seed, position);
  return static_cast<double>((Wide{r.y} << 32 | r.x) >> 11) * 0x1p-53;
}

__global__ void __cluster_dims__(kBlocks, 1, 1) __launch_bounds__(kThreads) SamplingKernel(const Sampling p) {
  extern __shared__ float logits[];
  __shared__ Shared shared;
  const int row_index = blockIdx.x / kBlocks;
  const RowSampling how = p.rows[row_index];
  Row row(p, logits, &shared);
  Wide best = 0, bad = 0;
  for (int i = threadIdx.x; i < row.count(); i += kThreads) {
    bad |= !(row.logit(i) < INFINITY);
    best = max(best, row.Order(i));
  }
  best = row.Reduce(best, MaxOfWide{});
  bad = row.Reduce(bad, MaxOfWide{});
  const uint32_t best_bits = static_cast<uint32_t>(best >> kIdBits);
  const float largest = __uint_as_float(best_bits & 0x80000000u ? best_bits & 0x7fffffffu : ~best_bits);
  const bool leads = threadIdx.x == 0 && blockIdx.x % kBlocks == 0;
  if (bad != 0 || largest == -INFINITY) {
    if (leads) {
      p.tokens[row_index] = -1;
      if (p.logprobs != nullptr) p.logprobs[row_index] = -INFINITY;
    }
    row.Leave();
    return;
  }
  double log_sum = 0;
  const Wide all = Wide{1} << kOrderBits;
  if (p.logprobs != nullptr) {
    row.WeighBy(largest, 1);
    log_sum = largest + log(static_cast<double>(row.SumBetween(0, all, [&](int i) { return row.Weight(i); })) / kOne);
  }
  int token = -1;
  if (how.temperature == 0) {
    if (leads) token = row.IdOf(best);
  } else {
    row.WeighBy(largest, 1 / static_cast<double>(how.temperature));
    const auto weight = [&](int i) { return row.Weight(i); };
    Wide cut = 0;
    if (how.top_k > 0 && how.top_k < p.vocab) cut = row.Cut(0, how.top_k, [](int) { return Wide{1}; });
    Wide sum = row.SumBetween(cut, all, weight);
    if (how.top_p < 1) {
      cut = row.Cut(cut, static_cast<Wide>(ceil(static_cast<double>(how.top_p) * static_cast<double>(sum))), weight);
      sum = row.SumBetween(cut, all, weight);
    }
    if (how.min_p > 0) {
      // Weights fall with the order, so this filter is a cut too: where the weight falls below min_p.
      const Wide least = static_cast<Wide>(ceil(static_cast<double>(how.min_p) * kOne));
      Wide lowest = all;
      for (int i = threadIdx.x; i < row.count(); i += kThreads) {
        if (row.Order(i) >= cut && row.Weight(i) >= least) lowest = min(lowest, row.Order(i));
      }
      cut = all - row.Reduce(all - lowest, MaxOfWide{});
      sum = row.SumBetween(cut, all, weight);
    }
    // The product's rounding must not reach the sum itself: the last element is drawn below it.
    const Wide target = min(static_cast<Wide>(UniformAt(how.seed, how.position) * static_cast<double>(sum)), sum - 1);
    token = row.Draw(cut, target);
    if (threadIdx.x % 32 != 0) token = -1;
  }
  if (token >= 0) {
    p.tokens[row_index] = token;
    if (p.logprobs != nullptr) {
      p.logprobs[row_index] = static_cast<float>(static_cast<double>(p.logits[static_cast<int64_t>(row_index) * p.vocab + token]) - log_sum);
    }
  }
  row.Leave();
}

}  // namespace

cudaError_t LaunchSampling(const Sampling& params, cudaStream_t stream) {
  if (params.row_count < 0 || params.vocab <= 0 || params.vocab > (1 << 18) + 65536) return cudaErrorInvalidValue;
  if (params.row_count == 0) return cudaSuccess;
  const size_t bytes = static_cast<size_t>((params.vocab + kBlocks - 1) / kBlocks) * sizeof(float);
  if (cudaError_t e = cudaFuncSetAttribute(SamplingKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 * 1024); e != cudaSuccess) return e;
  SamplingKernel<<<dim3(params.row_count * kBlocks), kThreads, bytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
