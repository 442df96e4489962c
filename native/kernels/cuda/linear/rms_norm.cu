#include "kernels/cuda/linear/rms_norm.h"

#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;

// One block a row, the row in registers: thread t holds octets t, t + 256, ...
template <int kOctets>
__global__ void __launch_bounds__(kThreads) RmsNormKernel(const RmsNorm params) {
  __shared__ float shared[2][kThreads / 32];
  WaitForPrevious();
  LetNextStart();
  const int64_t base = static_cast<int64_t>(blockIdx.x) * params.n;
  Octet x[kOctets];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at >= params.n) continue;
    x[i] = Unpack(RawOctet(params.x + base + at));
    if (params.delta != nullptr) {
      const Octet delta = Unpack(RawOctet(params.delta + base + at));
#pragma unroll
      for (int j = 0; j < 8; j++) x[i].v[j] += delta.v[j];
      const uint4 rounded = Pack(x[i]);
      x[i] = Unpack(rounded);
      if (params.sum != nullptr) RawOctet(params.sum + base + at) = rounded;
    }
#pragma unroll
    for (float v : x[i].v) squares += v * v;
  }
  const float scale = rsqrtf(BlockReduce<kThreads>(squares, shared[0], SumOf{}) / static_cast<float>(params.n) + params.eps);
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at >= params.n) continue;
    const float4 w[2] = {*reinterpret_cast<const float4*>(params.weight + at), *reinterpret_cast<const float4*>(params.weight + at + 4)};
    const float weight[8] = {w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w};
#pragma unroll
    for (int j = 0; j < 8; j++) x[i].v[j] *= scale * weight[j];
    if (params.residual != nullptr) {
      const Octet residual = Unpack(RawOctet(params.residual + base + at));
#pragma unroll
      for (int j = 0; j < 8; j++) x[i].v[j] += residual.v[j];
    }
#pragma unroll
    for (float v : x[i].v) largest = fmaxf(largest, fabsf(v));
    if (params.out != nullptr) RawOctet(params.out + base + at) = Pack(x[i]);
  }
  if (params.quantized == nullptr) return;
  const float step = Fp8Scale(BlockReduce<kThreads>(largest, shared[1], MaxOf{}));
  if (threadIdx.x == 0) params.scales[blockIdx.x] = step;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at < params.n) *reinterpret_cast<uint2*>(params.quantized + base + at) = PackFp8(x[i], 1.f / step);
  }
}

}  // namespace

cudaError_t LaunchRmsNorm(const RmsNorm& params, cudaStream_t stream) {
  const bool output = params.out != nullptr || (params.quantized != nullptr && params.scales != nullptr);
  if (params.rows < 0 || params.n <= 0 || params.n % 8 != 0 || params.n > 16384 || !output) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  const int octets = (params.n + kThreads * 8 - 1) / (kThreads * 8);
  const auto kernel = octets == 1 ? RmsNormKernel<1> : octets == 2 ? RmsNormKernel<2> : octets <= 4 ? RmsNormKernel<4> : RmsNormKernel<8>;
  return LaunchDependent(kernel, dim3(params.rows), kThreads, 0, stream, params);
}

}  // namespace longshore::cuda
