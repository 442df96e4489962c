// Checks the parameters of the attention launchers and chooses the kernel for this card and shape.
#include <climits>

#include "kernels/cuda/decode_splits.h"
#include "kernels/cuda/generic_kernels.h"
#include "kernels/cuda/hopper_kernels.h"

namespace longshore::cuda {
namespace {

constexpr int kMaxQueryBlock = 8191;

// Compute capability of the current device, major * 10 + minor.
cudaError_t Capability(int* capability) {
  int device = 0, major = 0, minor = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  *capability = major * 10 + minor;
  return error;
}

// The Hopper kernels are built for sm_90a, which no later card runs.
template <typename Params>
cudaError_t Launch(const Params& params, bool plain, cudaError_t (*hopper)(const Params&, cudaStream_t), cudaError_t (*generic)(const Params&, cudaStream_t),
                   cudaStream_t stream) {
  int capability = 0;
  if (const cudaError_t error = Capability(&capability); error != cudaSuccess) return error;
  if (capability < 80) return cudaErrorNotSupported;
  if (capability == 90 && !plain && params.head_dim % 16 == 0 && params.head_dim <= kHopperMaxHeadDim) return hopper(params, stream);
  return generic(params, stream);
}

bool ServesHeads(int32_t heads, int32_t kv_heads, int32_t head_dim) {
  return heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && ServesHeadDim(head_dim);
}

}  // namespace

cudaError_t LaunchPrefillAttention(const PrefillAttention& params, cudaStream_t stream) {
  if (!ServesHeads(params.heads, params.kv_heads, params.head_dim) || params.section_kv_heads <= 0 ||
      params.kv_heads % params.section_kv_heads != 0 || params.rows <= 0 || params.tile_count < 0 ||
      static_cast<int64_t>(params.tile_count) * params.heads > INT32_MAX / 2 || (params.mask != nullptr) != (params.mask_count != nullptr) ||
      params.sliding_window < 0 || !(params.tau >= 0 && params.tau < 1))
    return cudaErrorInvalidValue;
  if (params.tile_count == 0) return cudaSuccess;
  return Launch(params, params.plain || params.sliding_window > 0, HopperPrefillAttention, GenericPrefillAttention, stream);
}

cudaError_t LaunchBlockEnergy(const BlockEnergy& params, cudaStream_t stream) {
  if (!ServesHeads(params.heads, params.kv_heads, params.head_dim) || params.rows <= 0 || params.tile_count < 0 ||
      static_cast<int64_t>(params.tile_count) * params.heads > INT32_MAX || params.max_query_block < 0 ||
      params.max_query_block > kMaxQueryBlock || params.mask_words <= params.max_query_block / 32 || params.window < 1 ||
      params.means.tiles <= params.max_query_block / kBlockTokens)
    return cudaErrorInvalidValue;
  if (params.tile_count == 0) return cudaSuccess;
  return Launch(params, params.plain, HopperBlockEnergy, GenericBlockEnergy, stream);
}

int64_t DecodePartialFloats(int32_t sequences, int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t max_length) {
  return static_cast<int64_t>(sequences) * heads * MaxSplits(max_length, kv_heads) * (head_dim + 2);
}

cudaError_t LaunchDecodeAttention(const DecodeAttention& params, cudaStream_t stream) {
  if (!ServesHeads(params.heads, params.kv_heads, params.head_dim) || params.heads / params.kv_heads > kMaxGroup || params.sequences < 0 ||
      params.max_length < 1 || params.sliding_window < 0)
    return cudaErrorInvalidValue;
  const int max_splits = MaxSplits(params.max_length, params.kv_heads);
  if (static_cast<int64_t>(params.sequences) * params.kv_heads * max_splits > INT32_MAX / 2 || max_splits > kMaxSplits) return cudaErrorInvalidValue;
  if (params.sequences == 0) return cudaSuccess;
  return Launch(params, params.plain || params.sliding_window > 0, HopperDecodeAttention, GenericDecodeAttention, stream);
}

}  // namespace longshore::cuda
