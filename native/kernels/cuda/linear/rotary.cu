#include "kernels/cuda/linear/rotary.h"

#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kAngleThreads = 128;
constexpr int kWarps = 8;
constexpr int kMostHeadDim = 256;

__global__ void __launch_bounds__(kAngleThreads) AnglesKernel(const RotaryAngles params) {
  WaitForPrevious();
  LetNextStart();
  const float position = static_cast<float>(params.positions[blockIdx.x]);
  for (int i = threadIdx.x; i < params.half; i += kAngleThreads) {
    double sine, cosine;
    sincos(static_cast<double>(__fmul_rn(position, params.frequencies[i])), &sine, &cosine);
    params.cos[static_cast<int64_t>(blockIdx.x) * params.half + i] = static_cast<float>(cosine * params.magnitude);
    params.sin[static_cast<int64_t>(blockIdx.x) * params.half + i] = static_cast<float>(sine * params.magnitude);
  }
}

// A warp per head of a row. The head goes through shared memory because a channel turns with its partner half a head away.
__global__ void __launch_bounds__(kWarps * 32) SplitQkvKernel(const SplitQkv params) {
  __shared__ float heads_shared[kWarps][kMostHeadDim];
  WaitForPrevious();
  LetNextStart();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = params.head_dim;
  const int all = params.heads + 2 * params.kv_heads;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (item >= static_cast<int64_t>(params.rows) * all) return;
  const int64_t row = item / all;
  const int head = static_cast<int>(item % all);
  float* x = heads_shared[warp];
  const bf16* from = params.qkv + item * d;
  float squares = 0;
  for (int c = lane * 8; c < d; c += 256) {
    Octet v = Unpack(RawOctet(from + c));
    if (params.bias != nullptr) {
      const Octet bias = Unpack(RawOctet(params.bias + head * d + c));
#pragma unroll
      for (int j = 0; j < 8; j++) v.v[j] += bias.v[j];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      x[c + j] = v.v[j];
      squares += v.v[j] * v.v[j];
    }
  }
  const bool is_q = head < params.heads, is_v = head >= params.heads + params.kv_heads;
  const float* norm = is_v ? nullptr : is_q ? params.q_norm : params.k_norm;
  const float scale = norm == nullptr ? 1.f : rsqrtf(WarpReduce(squares, SumOf{}) / static_cast<float>(d) + params.eps);
  __syncwarp();
  bf16* to = is_q ? params.q + (row * params.heads + head) * d
             : is_v ? params.v + (row * params.kv_heads + head - params.heads - params.kv_heads) * d
                    : params.k + (row * params.kv_heads + head - params.heads) * d;
  const int half = params.rope_dims / 2;
  for (int c = lane * 8; c < d; c += 256) {
    Octet out;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int channel = c + j;
      const auto normed = [&](int at) { return norm == nullptr ? x[at] : x[at] * scale * norm[at]; };
      float y = normed(channel);
      if (!is_v && channel < params.rope_dims) {
        const bool first = channel < half;
        const int pair = first ? channel : channel - half;
        const float cosine = params.cos[row * half + pair], sine = params.sin[row * half + pair];
        const float partner = normed(first ? channel + half : pair);
        y = first ? y * cosine - partner * sine : y * cosine + partner * sine;
      }
      out.v[j] = y;
    }
    RawOctet(to + c) = Pack(out);
  }
}

// The plain case, all channels of a head turning and no norm of heads: a thread takes eight channels and their eight partners, so that nothing goes
// through shared memory and every access is 16 bytes.
__global__ void __launch_bounds__(kWarps * 32) SplitQkvPairsKernel(const SplitQkv params) {
  WaitForPrevious();
  LetNextStart();
  const int d = params.head_dim, half = d / 2, shares = half / 8, all = params.heads + 2 * params.kv_heads;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (kWarps * 32) + threadIdx.x, per_row = static_cast<int64_t>(all) * shares;
  if (item >= params.rows * per_row) return;
  const int64_t row = item / per_row;
  const int rest = static_cast<int>(item - row * per_row), head = rest / shares, c = rest % shares * 8;
  const bf16* from = params.qkv + (row * all + head) * d + c;
  Octet low = Unpack(RawOctet(from)), high = Unpack(RawOctet(from + half));
  if (params.bias != nullptr) {
    const Octet low_bias = Unpack(RawOctet(params.bias + head * d + c)), high_bias = Unpack(RawOctet(params.bias + head * d + c + half));
#pragma unroll
    for (int j = 0; j < 8; j++) {
      low.v[j] += low_bias.v[j];
      high.v[j] += high_bias.v[j];
    }
  }
  const bool is_q = head < params.heads, is_v = head >= params.heads + params.kv_heads;
  bf16* to = is_q ? params.q + (row * params.heads + head) * d
             : is_v ? params.v + (row * params.kv_heads + head - params.heads - params.kv_heads) * d
                    : params.k + (row * params.kv_heads + head - params.heads) * d;
  if (!is_v) {
    float cosine[8], sine[8];
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      *reinterpret_cast<float4*>(cosine + j) = *reinterpret_cast<const float4*>(params.cos + row * half + c + j);
      *reinterpret_cast<float4*>(sine + j) = *reinterpret_cast<const float4*>(params.sin + row * half + c + j);
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float x = low.v[j], y = high.v[j];
      low.v[j] = x * cosine[j] - y * sine[j];
      high.v[j] = y * cosine[j] + x * sine[j];
    }
  }
  RawOctet(to + c) = Pack(low);
  RawOctet(to + c + half) = Pack(high);
}

}  // namespace

cudaError_t LaunchRotaryAngles(const RotaryAngles& params, cudaStream_t stream) {
  if (params.rows < 0 || params.half <= 0) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  return LaunchDependent(AnglesKernel, dim3(params.rows), kAngleThreads, 0, stream, params);
}

cudaError_t LaunchSplitQkv(const SplitQkv& params, cudaStream_t stream) {
  if (params.rows < 0 || params.heads <= 0 || params.kv_heads <= 0 || params.head_dim <= 0 || params.head_dim % 8 != 0 ||
      params.head_dim > kMostHeadDim || params.rope_dims < 0 || params.rope_dims % 2 != 0 || params.rope_dims > params.head_dim) {
    return cudaErrorInvalidValue;
  }
  if (params.rows == 0) return cudaSuccess;
  const int64_t items = static_cast<int64_t>(params.rows) * (params.heads + 2 * params.kv_heads);
  if (params.q_norm == nullptr && params.k_norm == nullptr && params.rope_dims == params.head_dim && params.head_dim % 16 == 0) {
    const int64_t threads = items * (params.head_dim / 16);
    return LaunchDependent(SplitQkvPairsKernel, dim3((threads + kWarps * 32 - 1) / (kWarps * 32)), kWarps * 32, 0, stream, params);
  }
  return LaunchDependent(SplitQkvKernel, dim3((items + kWarps - 1) / kWarps), kWarps * 32, 0, stream, params);
}

}  // namespace longshore::cuda
