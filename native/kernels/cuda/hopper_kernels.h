// The kernels for Hopper (sm_90a), for attention_dispatch.cc alone: parameters were checked, head_dim is a multiple of 16 up to 128, no sliding window.
#pragma once

#include "kernels/cuda/block_energy.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/prefill_attention.h"

namespace longshore::cuda {

constexpr int kHopperMaxHeadDim = 128;

cudaError_t HopperPrefillAttention(const PrefillAttention& params, cudaStream_t stream);
cudaError_t HopperBlockEnergy(const BlockEnergy& params, cudaStream_t stream);
cudaError_t HopperDecodeAttention(const DecodeAttention& params, cudaStream_t stream);

}  // namespace longshore::cuda
