#include "kernels/cuda/linear/gated_activation.h"

#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/gating.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ Octet Gated(const GatedActivation& params, int64_t row, int at) {
  const bf16* gate_row = params.gate_up + row * 2 * params.n;
  Octet gate = Unpack(RawOctet(gate_row + at));
  const Octet up = Unpack(RawOctet(gate_row + params.n + at));
#pragma unroll
  for (int j = 0; j < 8; j++) gate.v[j] = Gate(params.gating, gate.v[j]) * up.v[j];
  return gate;
}

__global__ void __launch_bounds__(kThreads) PlainKernel(const GatedActivation params) {
  WaitForPrevious();
  LetNextStart();
  const int at = (blockIdx.x * kThreads + threadIdx.x) * 8;
  if (at >= params.n) return;
  for (int64_t row = blockIdx.y; row < params.rows; row += gridDim.y) RawOctet(params.out + row * params.n + at) = Pack(Gated(params, row, at));
}

// One block a row: its scale is known only when all of the row is. Thread t keeps octets t, t + 256, ... packed as bf16.
template <int kOctets>
__global__ void __launch_bounds__(kThreads) QuantizedKernel(const GatedActivation params) {
  __shared__ float shared[kThreads / 32];
  WaitForPrevious();
  LetNextStart();
  const int64_t row = blockIdx.x;
  uint4 kept[kOctets];
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at >= params.n) continue;
    kept[i] = Pack(Gated(params, row, at));
#pragma unroll
    for (float v : Unpack(kept[i]).v) largest = fmaxf(largest, fabsf(v));
    if (params.out != nullptr) RawOctet(params.out + row * params.n + at) = kept[i];
  }
  const float step = Fp8Scale(BlockReduce<kThreads>(largest, shared, MaxOf{}));
  if (threadIdx.x == 0) params.scales[row] = step;
#pragma unroll
  for (int i = 0; i < kOctets; i++) {
    const int at = (threadIdx.x + i * kThreads) * 8;
    if (at < params.n) *reinterpret_cast<uint2*>(params.quantized + row * params.n + at) = PackFp8(Unpack(kept[i]), 1.f / step);
  }
}

}  // namespace

cudaError_t LaunchGatedActivation(const GatedActivation& params, cudaStream_t stream) {
  if (params.rows < 0 || params.n <= 0 || params.n % 8 != 0) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  if (params.quantized == nullptr) {
    if (params.out == nullptr) return cudaErrorInvalidValue;
    return LaunchDependent(PlainKernel, dim3((params.n + kThreads * 8 - 1) / (kThreads * 8), params.rows < 65535 ? params.rows : 65535), kThreads, 0, stream, params);
  }
  if (params.n > 32768 || params.scales == nullptr) return cudaErrorInvalidValue;
  const int octets = (params.n + kThreads * 8 - 1) / (kThreads * 8);
  const auto kernel = octets <= 2 ? QuantizedKernel<2> : octets <= 4 ? QuantizedKernel<4> : octets <= 8 ? QuantizedKernel<8> : QuantizedKernel<16>;
  return LaunchDependent(kernel, dim3(params.rows), kThreads, 0, stream, params);
}

}  // namespace longshore::cuda
