// A block streams tiles of 16 weight rows through shared memory: four warps issue bulk copies of 512 columns of each row, eight warps
// multiply on the tensor cores, each with every eighth 16-column step, the 16 weight rows as A and the rows of x as B's eight columns. Their
// partial sums meet in shared memory in the order of the warps. docs/design/0024 has the arithmetic.
#include "kernels/cuda/linear/gemv.h"

#include <algorithm>

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/gating.cuh"
#include "kernels/cuda/linear/gemv_fragment.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kTileRows = 16;
constexpr int kMostRows = 8;
constexpr int kWarps = 8;             // that multiply
constexpr int kComputeThreads = kWarps * 32;
// A warp issues its lanes' bulk copies one after the other, some 60 cycles each: one warp alone cannot keep up with the memory.
constexpr int kCopyWarps = 4;
constexpr int kThreads = kComputeThreads + kCopyWarps * 32;
constexpr int kPadBytes = 16;         // rows start four banks apart
constexpr int kMostStages = 8;
constexpr int kLeastStages = 2;
constexpr int kPartialFloats = kWarps * kTileRows * kMostRows;
constexpr int kComputeBarrier = 1;
// Two blocks share a multiprocessor: this kernel's, and the next one's that already fetches its weights.
constexpr int kSharedBytesOfHalf = 113 * 1024;
constexpr int kSharedBytesOfAll = 226 * 1024;

constexpr int kStageColumns = 512;
constexpr int kSteps = kStageColumns / 16 / kWarps;  // of each warp in a stage
template <GemvWeight kWeight>
constexpr int kStageRowBytes = kStageColumns * (kWeight == GemvWeight::kBf16 ? 2 : 1) + kPadBytes;
template <GemvWeight kWeight>
constexpr int kStageBytes = kTileRows * kStageRowBytes<kWeight>;

// Shared memory: stages, x, partial sums (two tiles), barriers.
struct Layout {
  int stages;
  int x_pitch;  // bf16 elements
  int x_at, partial_at, barrier_at, bytes;
};

template <GemvWeight kWeight>
Layout LayoutOf(const Gemv& params) {
  Layout layout = {};
  layout.x_pitch = params.k + kPadBytes / 2;
  const int x_bytes = params.rows * layout.x_pitch * 2;
  const int rest = x_bytes + 2 * kPartialFloats * 4 + 2 * kMostStages * 8 + 256;
  for (const int budget : {kSharedBytesOfHalf, kSharedBytesOfAll}) {
    layout.stages = std::min(kMostStages, (budget - rest) / kStageBytes<kWeight>);
    if (budget > rest && layout.stages >= kLeastStages) break;
    layout.stages = 0;
  }
  layout.x_at = layout.stages * kStageBytes<kWeight>;
  layout.partial_at = layout.x_at + (x_bytes + 15) / 16 * 16;
  layout.barrier_at = layout.partial_at + 2 * kPartialFloats * 4;
  layout.bytes = layout.barrier_at + 2 * kMostStages * 8;
  return layout;
}

struct Launch {
  Gemv gemv;
  Layout layout;
  int tiles;
};

__device__ __forceinline__ bool IsPaired(GemvOutput output) {
  return output == GemvOutput::kSilu || output == GemvOutput::kGelu || output == GemvOutput::kQkv;
}

// The weight row of a tile's row. Paired outputs put both of a pair into one tile, eight rows apart, where one thread finds them.
__device__ __forceinline__ int WeightRow(const Gemv& p, int tile, int row) {
  if (!IsPaired(p.output)) return min(tile * kTileRows + row, p.n - 1);
  const int pair = tile * 8 + row % 8;
  if (p.output != GemvOutput::kQkv) return row < 8 ? pair : p.n / 2 + pair;
  const int half = p.qkv.head_dim / 2;
  return pair / half * p.qkv.head_dim + pair % half + (row < 8 ? 0 : half);
}

template <GemvWeight kWeight>
__device__ __forceinline__ void Produce(const Launch& launch, uint8_t* stages, uint64_t* full, uint64_t* empty) {
  const Gemv& p = launch.gemv;
  constexpr int kElementBytes = kWeight == GemvWeight::kBf16 ? 2 : 1;
  constexpr int kRows = kTileRows / kCopyWarps;
  const int lane = threadIdx.x % 32, tile_row = (threadIdx.x - kComputeThreads) / 32 * kRows + lane % kRows;
  const uint64_t policy = StreamingPolicy();
  int stage = 0;
  uint32_t parity = 1;  // every stage begins empty
  for (int tile = blockIdx.x; tile < launch.tiles; tile += gridDim.x) {
    const uint8_t* row = static_cast<const uint8_t*>(p.weight) + static_cast<int64_t>(WeightRow(p, tile, tile_row)) * p.k * kElementBytes;
    for (int column = 0; column < p.k; column += kStageColumns) {
      const uint32_t bytes = min(kStageColumns, p.k - column) * kElementBytes;
      BarrierWait(&empty[stage], parity);
      if (lane == 0) BarrierArriveExpect(&full[stage], bytes * kRows);
      __syncwarp();
      if (lane < kRows) {
        BulkCopyStreaming(stages + stage * kStageBytes<kWeight> + tile_row * kStageRowBytes<kWeight>, row + static_cast<int64_t>(column) * kElementBytes, bytes,
                          &full[stage], policy);
      }
      if (++stage == launch.layout.stages) stage = 0, parity ^= 1;
    }
  }
}

// x to shared memory as it is, and each thread's part of its rows' squares.
template <int kRows>
__device__ __forceinline__ void CopyRows(const Gemv& p, bf16* x, int pitch, float (&squares)[kMostRows]) {
  constexpr int kTogether = kMostRows / kRows;  // octets of a row: eight loads before the first use
  for (int first = threadIdx.x; first < p.k / 8; first += kTogether * kComputeThreads) {
    uint4 raw[kTogether][kRows];
#pragma unroll
    for (int j = 0; j < kTogether; j++) {
      const int i = first + j * kComputeThreads;
#pragma unroll
      for (int row = 0; row < kRows; row++) {
        if (i < p.k / 8 && row < p.rows) raw[j][row] = RawOctet(p.x + static_cast<int64_t>(row) * p.k + i * 8);
      }
    }
#pragma unroll
    for (int j = 0; j < kTogether; j++) {
      const int i = first + j * kComputeThreads;
#pragma unroll
      for (int row = 0; row < kRows; row++) {
        if (i >= p.k / 8 || row >= p.rows) continue;
        RawOctet(x + row * pitch + i * 8) = raw[j][row];
        if (p.norm_weight == nullptr) continue;
#pragma unroll
        for (float v : Unpack(raw[j][row]).v) squares[row] += v * v;
      }
    }
  }
}

// x to shared memory, normalised where asked; by the multiplying warps.
__device__ __forceinline__ void StageX(const Launch& launch, bf16* x, float* shared) {
  const Gemv& p = launch.gemv;
  const int pitch = launch.layout.x_pitch, octets = p.k / 8;
  float squares[kMostRows] = {};
  if (p.rows == 1) CopyRows<1>(p, x, pitch, squares);
  else CopyRows<kMostRows>(p, x, pitch, squares);
  if (p.norm_weight == nullptr) {
    NamedBarrierSync(kComputeBarrier, kComputeThreads);
    return;
  }
#pragma unroll
  for (int row = 0; row < kMostRows; row++) {
    if (row >= p.rows) break;
    const float sum = WarpReduce(squares[row], SumOf{});
    if (threadIdx.x % 32 == 0) shared[row * kWarps + threadIdx.x / 32] = sum;
  }
  NamedBarrierSync(kComputeBarrier, kComputeThreads);
#pragma unroll
  for (int row = 0; row < kMostRows; row++) {
    if (row >= p.rows) break;
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) sum += shared[row * kWarps + warp];
    squares[row] = rsqrtf(sum / static_cast<float>(p.k) + p.eps);
  }
  for (int i = threadIdx.x; i < octets; i += kComputeThreads) {
    const float4 w[2] = {reinterpret_cast<const float4*>(p.norm_weight)[2 * i], reinterpret_cast<const float4*>(p.norm_weight)[2 * i + 1]};
    const float weight[8] = {w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w};
#pragma unroll
    for (int row = 0; row < kMostRows; row++) {
      if (row >= p.rows) break;
      Octet v = Unpack(RawOctet(x + row * pitch + i * 8));
#pragma unroll
      for (int j = 0; j < 8; j++) v.v[j] *= squares[row] * weight[j];
      RawOctet(x + row * pitch + i * 8) = Pack(v);
    }
  }
  NamedBarrierSync(kComputeBarrier, kComputeThreads);
}

__device__ __forceinline__ void FinishQkv(const Gemv& p, int low_row, int row, float low, float high) {
  const GemvQkv& qkv = p.qkv;
  const int d = qkv.head_dim, half = d / 2;
  int head = low_row / d;
  const int channel = low_row % d;
  if (head < qkv.heads + qkv.kv_heads) {
    const float cosine = qkv.cos[row * half + channel], sine = qkv.sin[row * half + channel];
    const float turned = low * cosine - high * sine;
    high = high * cosine + low * sine;
    low = turned;
  }
  if (head < qkv.heads) {
    bf16* q = p.out + (static_cast<int64_t>(row) * qkv.heads + head) * d + channel;
    q[0] = __float2bfloat16(low);
    q[half] = __float2bfloat16(high);
    return;
  }
  head -= qkv.heads;
  const bool is_v = head >= qkv.kv_heads;
  if (is_v) head -= qkv.kv_heads;
  const int position = qkv.positions[row], token = position % kBlockTokens;
  const int64_t block = qkv.kv.block_table[static_cast<int64_t>(row) * qkv.kv.table_stride + position / kBlockTokens];
  bf16* tile = (is_v ? qkv.kv.v : qkv.kv.k) + block * qkv.kv.block_stride + head * qkv.kv.head_stride;
  tile[TileOffset(token, channel)] = __float2bfloat16(low);
  tile[TileOffset(token, channel + half)] = __float2bfloat16(high);
}

__device__ __forceinline__ void FinishOne(const Gemv& p, int weight_row, int row, float y) {
  const int64_t at = static_cast<int64_t>(row) * p.n + weight_row;
  if (p.output == GemvOutput::kF32) p.logits[at] = y;
  else if (p.output == GemvOutput::kAdd) p.out[at] = __float2bfloat16(__bfloat162float(p.out[at]) + y);
  else p.out[at] = __float2bfloat16(y);
}

// Threads 0..63 of the tile's two finishing warps: rows (i, i + 8) of the tile for one row of x.
__device__ __forceinline__ void Finish(const Launch& launch, int tile, const float* partial, int thread) {
  const Gemv& p = launch.gemv;
  const int i = thread % 8, row = thread / 8;
  if (row >= p.rows) return;
  float y[2] = {};
#pragma unroll
  for (int warp = 0; warp < kWarps; warp++) {
    y[0] += partial[(warp * kMostRows + row) * kTileRows + i];
    y[1] += partial[(warp * kMostRows + row) * kTileRows + i + 8];
  }
  const bool paired = IsPaired(p.output);
  int at[2];
#pragma unroll
  for (int j = 0; j < 2; j++) {
    at[j] = WeightRow(p, tile, i + 8 * j);
    if (p.weight_scales != nullptr) y[j] *= p.weight_scales[at[j]];
    if (p.bias != nullptr) y[j] += __bfloat162float(p.bias[at[j]]);
  }
  if (p.output == GemvOutput::kQkv) {
    FinishQkv(p, at[0], row, y[0], y[1]);
  } else if (paired) {
    const Gating gating = p.output == GemvOutput::kSilu ? Gating::kSilu : Gating::kGelu;
    p.out[static_cast<int64_t>(row) * (p.n / 2) + at[0]] = __float2bfloat16(Gate(gating, y[0]) * y[1]);
  } else {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (tile * kTileRows + i + 8 * j < p.n) FinishOne(p, at[j], row, y[j]);
    }
  }
}

template <GemvWeight kWeight>
__device__ __forceinline__ void Multiply(const Launch& launch, const uint8_t* stages, const bf16* x, float* partial, uint64_t* full, uint64_t* empty) {
  const Gemv& p = launch.gemv;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int stage = 0, turn = 0;
  uint32_t parity = 0;
  for (int tile = blockIdx.x; tile < launch.tiles; tile += gridDim.x, turn ^= 1) {
    float sum[2][4] = {};  // even and odd steps: two chains of products in flight
    for (int column = 0; column < p.k; column += kStageColumns) {
      const int steps = min(kStageColumns, p.k - column) / 16;
      BarrierWait(&full[stage], parity);
      const uint8_t* weights = stages + stage * kStageBytes<kWeight>;
      const auto multiply = [&](int i) {
        MultiplyStep<kWeight, kStageRowBytes<kWeight>>(weights, i * kWarps + warp, x + column, launch.layout.x_pitch, p.rows, lane, sum[i % 2]);
      };
      if (steps == kStageColumns / 16) {  // no branch between the steps, so that their loads go out together
#pragma unroll
        for (int i = 0; i < kSteps; i++) multiply(i);
      } else {
#pragma unroll
        for (int i = 0; i < kSteps; i++) {
          if (i * kWarps + warp < steps) multiply(i);
        }
      }
      BarrierArrive(&empty[stage]);  // every thread for itself: racecheck cannot follow one lane's word for its warp, and it costs nothing here
      if (++stage == launch.layout.stages) stage = 0, parity ^= 1;
    }
    // C's fragment: rows lane / 4 and + 8 of the weights, columns 2 (lane % 4) and + 1, which are rows of x.
    float* mine = partial + turn * kPartialFloats + warp * kMostRows * kTileRows;
    const int row = lane / 4, column = lane % 4 * 2;
    mine[column * kTileRows + row] = sum[0][0] + sum[1][0];
    mine[(column + 1) * kTileRows + row] = sum[0][1] + sum[1][1];
    mine[column * kTileRows + row + 8] = sum[0][2] + sum[1][2];
    mine[(column + 1) * kTileRows + row + 8] = sum[0][3] + sum[1][3];
    NamedBarrierSync(kComputeBarrier, kComputeThreads);
    if (warp / 2 == 0) Finish(launch, tile, partial + turn * kPartialFloats, threadIdx.x);
  }
}

template <GemvWeight kWeight>
__global__ void __launch_bounds__(kThreads) GemvKernel(const __grid_constant__ Launch launch) {
  extern __shared__ __align__(128) uint8_t shared[];
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + launch.layout.barrier_at);
  uint64_t* empty = full + kMostStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < launch.layout.stages; i++) {
      BarrierInit(&full[i], kCopyWarps);
      BarrierInit(&empty[i], kComputeThreads);
    }
    BarrierInitFence();
  }
  __syncthreads();
  LetNextStart();
  if (threadIdx.x >= kComputeThreads) {
    Produce<kWeight>(launch, shared, full, empty);
    return;
  }
  bf16* x = reinterpret_cast<bf16*>(shared + launch.layout.x_at);
  float* partial = reinterpret_cast<float*>(shared + launch.layout.partial_at);
  WaitForPrevious();
  StageX(launch, x, partial);
  Multiply<kWeight>(launch, shared, x, partial, full, empty);
}

template <GemvWeight kWeight>
cudaError_t LaunchTyped(const Gemv& params, cudaStream_t stream) {
  Launch launch = {params, LayoutOf<kWeight>(params), (params.n + kTileRows - 1) / kTileRows};
  int device = 0, processors = 0;
  if (cudaError_t e = cudaGetDevice(&device); e != cudaSuccess) return e;
  if (cudaError_t e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device); e != cudaSuccess) return e;
  if (cudaError_t e = cudaFuncSetAttribute(GemvKernel<kWeight>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytesOfAll); e != cudaSuccess) return e;
  // A multiprocessor must drain before it divides its memory anew, so a kernel that chose a smaller share would keep the next one out.
  if (cudaError_t e = cudaFuncSetAttribute(GemvKernel<kWeight>, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared); e != cudaSuccess) return e;
  return LaunchDependent(GemvKernel<kWeight>, dim3(std::min(processors, launch.tiles)), kThreads, launch.layout.bytes, stream, launch);
}

}  // namespace

bool GemvServes(const Gemv& p) {
  const bool paired = p.output == GemvOutput::kSilu || p.output == GemvOutput::kGelu || p.output == GemvOutput::kQkv;
  if (p.rows < 1 || p.rows > kMostRows || p.n <= 0 || p.k <= 0 || p.k % 16 != 0 || p.n % (paired ? 16 : 8) != 0) return false;
  if (p.weight_type != GemvWeight::kBf16 && p.weight_scales == nullptr) return false;
  if (p.output == GemvOutput::kQkv) {
    const GemvQkv& qkv = p.qkv;
    if (qkv.head_dim <= 0 || qkv.head_dim % 16 != 0 || qkv.head_dim > 256 || qkv.heads <= 0 || qkv.kv_heads <= 0 || p.n != (qkv.heads + 2 * qkv.kv_heads) * qkv.head_dim) return false;
  }
  switch (p.weight_type) {
    case GemvWeight::kBf16: return LayoutOf<GemvWeight::kBf16>(p).stages > 0;
    case GemvWeight::kFp8: return LayoutOf<GemvWeight::kFp8>(p).stages > 0;
    case GemvWeight::kInt8: return LayoutOf<GemvWeight::kInt8>(p).stages > 0;
  }
  return false;
}

cudaError_t LaunchGemv(const Gemv& params, cudaStream_t stream) {
  if (!GemvServes(params)) return cudaErrorInvalidValue;
  switch (params.weight_type) {
    case GemvWeight::kBf16: return LaunchTyped<GemvWeight::kBf16>(params, stream);
    case GemvWeight::kFp8: return LaunchTyped<GemvWeight::kFp8>(params, stream);
    case GemvWeight::kInt8: return LaunchTyped<GemvWeight::kInt8>(params, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace longshore::cuda
