// Checks what sketch decode is asked for and runs its two kernels.
#include "kernels/cuda/sketch_decode.h"

#include <climits>

#include "kernels/cuda/decode_splits.h"
#include "kernels/cuda/sketch_kernels.h"

namespace longshore::cuda {

int64_t SketchDecodeBytes(int32_t sequences, int32_t heads, int32_t max_length) {
  const int64_t blocks = (int64_t{max_length} + kBlockTokens - 1) / kBlockTokens;
  return int64_t{sequences} * heads * blocks * (kBlockTokens + kSketchGroups) * 2;
}

cudaError_t LaunchSketchDecode(const SketchDecode& params, cudaStream_t stream) {
  if (params.heads <= 0 || params.kv_heads <= 0 || params.heads % params.kv_heads != 0 || params.heads / params.kv_heads > kMaxGroup ||
      !ServesHeadDim(params.head_dim) || params.head_dim > 128 || PaddedHeadDim(params.head_dim) != SketchDepth(params.head_dim) || params.sequences < 0 ||
      params.sequences > 65535 || params.max_length < 1 || params.min_tokens < 0 || params.min_tokens > 16384 || params.sink_tokens < 0 ||
      params.window_tokens < 1 || params.sink_tokens > 8192 || params.window_tokens > 8192 - params.sink_tokens || !(params.rescore >= 0 && params.rescore <= 1) ||
      params.min_rescore < 1 || !(params.keep >= 0 && params.keep < 1))
    return cudaErrorInvalidValue;
  // Twice the keys that are wanted must fit beside what is always attended.
  if (2.0f * params.rescore * static_cast<float>(params.max_length) > static_cast<float>(kMaxSketchList - 4608) || params.min_rescore > 4096) return cudaErrorInvalidValue;
  if (params.sequences == 0) return cudaSuccess;
  int device = 0, major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error != cudaSuccess) return error;
  if (major != 9) return cudaErrorNotSupported;
  if (error = LaunchSketchScan(params, stream); error != cudaSuccess) return error;
  return LaunchSketchAttend(params, stream);
}

}  // namespace longshore::cuda
