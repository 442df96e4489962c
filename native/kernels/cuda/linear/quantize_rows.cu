#include "kernels/cuda/linear/quantize_rows.h"

#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;

template <int kOctets>
__global__ void __launch_bounds__(kThreads) QuantizeRowsKernel(const QuantizeRows params) {
  __shared__ float shared[kThreads / 32];
  WaitForPrevious();
  LetNextStart();
  const int64_t base = static_cast<int64_t>(blockIdx.x) * params.n;
  uint4 kept[kOctets];
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at >= params.n) continue;
    kept[i] = RawOctet(params.x + base + at);
#pragma unroll
    for (float v : Unpack(kept[i]).v) largest = fmaxf(largest, fabsf(v));
  }
  const float step = Fp8Scale(BlockReduce<kThreads>(largest, shared, MaxOf{}));
  if (threadIdx.x == 0) params.scales[blockIdx.x] = step;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at < params.n) *reinterpret_cast<uint2*>(params.quantized + base + at) = PackFp8(Unpack(kept[i]), 1.f / step);
  }
}

}  // namespace

cudaError_t LaunchQuantizeRows(const QuantizeRows& params, cudaStream_t stream) {
  if (params.rows < 0 || params.n <= 0 || params.n % 8 != 0 || params.n > 32768) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  const int octets = (params.n + kThreads * 8 - 1) / (kThreads * 8);
  const auto kernel = octets <= 2 ? QuantizeRowsKernel<2> : octets <= 4 ? QuantizeRowsKernel<4> : octets <= 8 ? QuantizeRowsKernel<8> : QuantizeRowsKernel<16>;
  return LaunchDependent(kernel, dim3(params.rows), kThreads, 0, stream, params);
}

}  // namespace longshore::cuda
