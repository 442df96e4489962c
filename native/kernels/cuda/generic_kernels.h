// The plainer kernels for every card from sm_80 on and every head_dim, for attention_dispatch.cc alone: parameters were checked.
#pragma once

#include "kernels/cuda/block_energy.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/prefill_attention.h"

namespace longshore::cuda {

cudaError_t GenericPrefillAttention(const PrefillAttention& params, cudaStream_t stream);
cudaError_t GenericBlockEnergy(const BlockEnergy& params, cudaStream_t stream);
cudaError_t GenericDecodeAttention(const DecodeAttention& params, cudaStream_t stream);

}  // namespace longshore::cuda
