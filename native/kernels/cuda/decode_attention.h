// Dense decode attention: one query token per sequence over its paged keys and values. bf16, head_dim as in prefill_attention.h.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

// Blocks per split depend on the sequence's own length and the model alone, and partial results are merged in the order of the splits, so that an
// answer depends neither on the batch nor on which multiprocessor did what.
struct DecodeAttention {
  const bf16* q;           // [sequences][heads][head_dim]
  bf16* out;               // [sequences][heads][head_dim]
  int32_t sequences;
  int32_t heads;
  int32_t kv_heads;        // heads / kv_heads is at most 8
  int32_t head_dim;
  PagedKv kv;
  const int32_t* lengths;  // device, [sequences], tokens including the query's own; at least 1, at most max_length
  int32_t max_length;
  float scale;
  int32_t sliding_window;  // the last tokens that are read, the query's own among them; 0: all
  float* partial;          // device, DecodePartialFloats(...) floats
  bool plain = false;      // take the plain kernel everywhere
};

// Size of `partial`; kv_heads > 0.
int64_t DecodePartialFloats(int32_t sequences, int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t max_length);

// Errors: cudaErrorInvalidValue for shapes it does not serve, and what the launch reports.
cudaError_t LaunchDecodeAttention(const DecodeAttention& params, cudaStream_t stream);

}  // namespace longshore::cuda
