// Scans the sketches of a context: an estimate of every key's score for every query head of its kv head. Bound by the bytes of the sketches.
// The products run on the int8 tensor cores: keys are rows (signs as 0 and 1, two instructions a register out of the packed word), query heads are the
// columns, quantized to 8 bits after rotation. A warp takes a block at a time, the next one's sketch already on its way.
#include <algorithm>

#include "kernels/cuda/sketch_kernels.h"
#include "kernels/cuda/sketch_rotation.cuh"

namespace longshore::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kColumns = 8;
constexpr float kLog2E = 1.4426950408889634f;

// d += a b: a 16 x 32 of 0 and 1, b 32 x 8 of int8.
__device__ __forceinline__ void Multiply(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t Plane(uint32_t word, int bit) { return (word >> bit) & 0x01010101u; }

template <int kDepth>
struct Sketch {
  uint4 signs[kDepth / 32];
  uint4 factors[2];
  uint32_t mean[kDepth / 64];  // channels kDepth / 32 * lane ...

  __device__ __forceinline__ void Load(const uint8_t* entry) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < kDepth / 32; i++) signs[i] = __ldcs(reinterpret_cast<const uint4*>(entry) + 32 * i + lane);
#pragma unroll
    for (int h = 0; h < 2; h++) factors[h] = __ldcs(reinterpret_cast<const uint4*>(entry + SketchFactorOffset(kDepth)) + 8 * h + lane / 4);
#pragma unroll
    for (int i = 0; i < kDepth / 64; i++) mean[i] = __ldcs(reinterpret_cast<const uint32_t*>(entry + SketchMeanOffset(kDepth)) + lane * (kDepth / 64) + i);
  }
  __device__ __forceinline__ uint32_t Word(int w) const {
    const uint4& four = signs[w / 4];
    return w % 4 == 0 ? four.x : w % 4 == 1 ? four.y : w % 4 == 2 ? four.z : four.w;
  }
};

__device__ __forceinline__ float HalfOf(const uint4& eight, int i) {
  const uint32_t word = i / 2 == 0 ? eight.x : i / 2 == 1 ? eight.y : i / 2 == 2 ? eight.z : eight.w;
  return __half2float(__ushort_as_half(static_cast<unsigned short>(i % 2 ? word >> 16 : word & 0xffff)));
}

template <int kDepth>
struct SharedMemory {
  alignas(16) int8_t rotated[kColumns][kDepth];
  float scaled[kColumns][kDepth];
  float step[kColumns], bias[kColumns];
};

// A warp rotates and quantizes the query of one column; columns past the group are zero.
template <int kDepth>
__device__ __forceinline__ void PrepareColumn(const SketchDecode& params, const RotationSigns& signs, SharedMemory<kDepth>& shared, const bf16* q, int column,
                                              bool used) {
  using Shape = RotationShape<kDepth>;
  const int lane = threadIdx.x % Shape::kLanes;
  float x[Shape::kPasses][4];
  float widest = 0;
#pragma unroll
  for (int p = 0; p < Shape::kPasses; p++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int channel = 128 * p + 4 * lane + i;
      x[p][i] = used && channel < params.head_dim ? __bfloat162float(q[channel]) * (params.scale * kLog2E) : 0.0f;
      shared.scaled[column][channel] = x[p][i];
    }
  }
  RotateRow<kDepth>(x, signs);
#pragma unroll
  for (int p = 0; p < Shape::kPasses; p++) {
#pragma unroll
    for (int i = 0; i < 4; i++) widest = fmaxf(widest, fabsf(x[p][i]));
  }
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) widest = fmaxf(widest, __shfl_xor_sync(0xffffffff, widest, bit));
  const float step = widest / 127, inverse = widest > 0 ? 127 / widest : 0.0f;
  float sum = 0;
#pragma unroll
  for (int p = 0; p < Shape::kPasses; p++) {
    uint32_t packed = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int value = __float2int_rn(x[p][i] * inverse);
      sum += static_cast<float>(value);
      packed |= static_cast<uint32_t>(value & 0xff) << (8 * i);
    }
    *reinterpret_cast<uint32_t*>(&shared.rotated[column][128 * p + 4 * lane]) = packed;
  }
  sum = RowSum<kDepth>(sum);
  if ((threadIdx.x & 31) == 0) {
    shared.step[column] = 2 * step;
    shared.bias[column] = -step * sum;
  }
}

// kHeads: query heads of a kv head rounded up to 4 or 8.
template <int kDepth, int kHeads>
__global__ void __launch_bounds__(32 * kWarps, kDepth == 256 ? 1 : 2)
    SketchScanKernel(const SketchDecode params, const RotationSigns signs, int blocks_per_warp) {
  __shared__ SharedMemory<kDepth> shared;
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, c = lane & 3;
  const int kv_head = blockIdx.y, sequence = blockIdx.z, group = params.heads / params.kv_heads;
  const SketchRange range = ScannedBlocks(params, params.lengths[sequence]);
  const int first = range.first + static_cast<int>(blockIdx.x) * kWarps * blocks_per_warp;
  if (first >= range.last) return;
  const int end = min(first + kWarps * blocks_per_warp, range.last);
  const int32_t* table = params.kv.block_table + static_cast<int64_t>(sequence) * params.kv.table_stride;
  const auto entry = [&](int block) {
    return params.sketches.entries + table[block] * params.sketches.block_stride + kv_head * params.sketches.head_stride;
  };
  Sketch<kDepth> next;
  int block = first + warp;
  if (block < end) next.Load(entry(block));
  int upcoming = block + kWarps < end ? table[block + kWarps] : 0;

  const int64_t first_head = static_cast<int64_t>(sequence) * params.heads + kv_head * group;
  PrepareColumn<kDepth>(params, signs, shared, params.q + (first_head + warp) * params.head_dim, warp, warp < group);
  __syncthreads();
  uint32_t b[kDepth / 32][2];
#pragma unroll
  for (int s = 0; s < kDepth / 32; s++) {
    b[s][0] = *reinterpret_cast<const uint32_t*>(&shared.rotated[g][32 * s + 4 * c]);
    b[s][1] = *reinterpret_cast<const uint32_t*>(&shared.rotated[g][32 * s + 16 + 4 * c]);
  }
  const float step[2] = {shared.step[2 * c], shared.step[2 * c + 1]}, bias[2] = {shared.bias[2 * c], shared.bias[2 * c + 1]};
  const SketchScores out = ScoresOf(params);

  for (; block < end; block += kWarps) {
    const Sketch<kDepth> sketch = next;
    if (block + kWarps < end) {
      next.Load(params.sketches.entries + upcoming * params.sketches.block_stride + kv_head * params.sketches.head_stride);
      if (block + 2 * kWarps < end) upcoming = table[block + 2 * kWarps];
    }
    float dots[kHeads];
#pragma unroll
    for (int head = 0; head < kHeads; head++) {
      float dot = 0;
#pragma unroll
      for (int i = 0; i < kDepth / 64; i++) {
        const float2 pair = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(sketch.mean[i]));
        const float2 q = *reinterpret_cast<const float2*>(&shared.scaled[head][lane * (kDepth / 32) + 2 * i]);
        dot = fmaf(pair.x, q.x, fmaf(pair.y, q.y, dot));
      }
      dots[head] = dot;
    }
#pragma unroll
    for (int head = 0; head < kHeads; head++) {
#pragma unroll
      for (int bit = 1; bit < 32; bit *= 2) dots[head] += __shfl_xor_sync(0xffffffff, dots[head], bit);
    }
    float base[2] = {0, 0};
#pragma unroll
    for (int head = 0; head < kHeads; head++)
      if (head / 2 == c) base[head % 2] = dots[head];

    uint32_t packed[2][2][4];  // [half][column][pair of tiles]
    float best[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
#pragma unroll
    for (int pair = 0; pair < 4; pair++) {
      float score[2][2][2];  // [tile][half][column]
#pragma unroll
      for (int odd = 0; odd < 2; odd++) {
        const int t = 2 * pair + odd;
        int d[4] = {0, 0, 0, 0};
#pragma unroll
        for (int s = 0; s < kDepth / 32; s++) {
          const uint32_t low = kDepth == 64 ? sketch.Word(t) : kDepth == 128 ? sketch.Word(2 * t) : sketch.Word(4 * t + s / 4);
          const uint32_t high = kDepth == 64 ? sketch.Word(t) >> 4 : kDepth == 128 ? sketch.Word(2 * t + 1) : sketch.Word(4 * t + 2 + s / 4);
          const int bit = 2 * s % 8;
          Multiply(d, Plane(low, bit), Plane(high, bit), Plane(low, bit + 1), Plane(high, bit + 1), b[s][0], b[s][1]);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const float factor = HalfOf(sketch.factors[h], t);
#pragma unroll
          for (int column = 0; column < 2; column++)
            score[odd][h][column] = fmaf(factor, fmaf(static_cast<float>(d[2 * h + column]), step[column], bias[column]), base[column]);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
#pragma unroll
        for (int column = 0; column < 2; column++) {
          const __half2 two = __floats2half2_rn(score[0][h][column], score[1][h][column]);
          packed[h][column][pair] = reinterpret_cast<const uint32_t&>(two);
          best[h][column] = fmaxf(best[h][column], fmaxf(score[0][h][column], score[1][h][column]));
        }
      }
    }
#pragma unroll
    for (int column = 0; column < 2; column++) {
      if (2 * c + column >= group) continue;
      const int64_t at = ((first_head + 2 * c + column) * out.max_blocks + block) * kSketchGroups;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const uint32_t(&four)[4] = packed[h][column];
        *reinterpret_cast<uint4*>(out.scores + (at + 8 * h + g) * kGroupKeys) = make_uint4(four[0], four[1], four[2], four[3]);
        out.best[at + 8 * h + g] = __float2half(best[h][column]);
      }
    }
  }
}

template <int kDepth>
cudaError_t Launch(const SketchDecode& params, cudaStream_t stream) {
  const SketchRange longest = ScannedBlocks(params, params.max_length);
  const int blocks = longest.last - longest.first;
  if (blocks <= 0) return cudaSuccess;
  // One wave of two thread blocks per multiprocessor where the context is short enough, at most 16 blocks a warp.
  const int64_t warps = int64_t{132} * 2 * kWarps, work = static_cast<int64_t>(blocks) * params.kv_heads * params.sequences;
  const int per_warp = static_cast<int>(std::clamp<int64_t>((work + warps - 1) / warps, 1, 16));
  const dim3 grid((blocks + kWarps * per_warp - 1) / (kWarps * per_warp), params.kv_heads, params.sequences);
  if (params.heads / params.kv_heads <= 4) SketchScanKernel<kDepth, 4><<<grid, 32 * kWarps, 0, stream>>>(params, kSketchSigns, per_warp);
  else SketchScanKernel<kDepth, 8><<<grid, 32 * kWarps, 0, stream>>>(params, kSketchSigns, per_warp);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchSketchScan(const SketchDecode& params, cudaStream_t stream) {
  return SketchDepth(params.head_dim) == 64 ? Launch<64>(params, stream) : Launch<128>(params, stream);
}

}  // namespace longshore::cuda
