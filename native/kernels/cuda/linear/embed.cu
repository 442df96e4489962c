#include "kernels/cuda/linear/embed.h"

#include "kernels/cuda/linear/dependent_launch.cuh"
#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) EmbedKernel(const Embed params) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = blockIdx.x;
  const bf16* from = params.table + static_cast<int64_t>(params.tokens[row]) * params.hidden;
  bf16* to = params.out + row * params.hidden;
  for (int i = threadIdx.x * 8; i < params.hidden; i += kThreads * 8) {
    Octet x = Unpack(RawOctet(from + i));
#pragma unroll
    for (float& v : x.v) v *= params.scale;
    RawOctet(to + i) = Pack(x);
  }
}

}  // namespace

cudaError_t LaunchEmbed(const Embed& params, cudaStream_t stream) {
  if (params.rows < 0 || params.hidden <= 0 || params.hidden % 8 != 0) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  return LaunchDependent(EmbedKernel, dim3(params.rows), kThreads, 0, stream, params);
}

}  // namespace longshore::cuda
