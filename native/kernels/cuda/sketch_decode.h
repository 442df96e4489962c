// Sparse decode by key sketches (sketch_topk of engine/decode/decode_policy.h): one query token per sequence. sm_90, bf16, head_dim 64, 96, 128.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/sketch_pool.h"

namespace longshore::cuda {

// Blocks between sink and window are scanned by their sketches; the best `rescore` of their keys are scored exactly, and attended where their weight is at
// least an even share of the mass that may be lost. Sink and window are always attended. A sequence below min_tokens attends to all its tokens.
// Every block between sink and window must have its sketch (LaunchSketchBuild). An answer's bits depend on its sequence and max_length alone.
struct SketchDecode {
  const bf16* q;           // [sequences][heads][head_dim]
  bf16* out;               // [sequences][heads][head_dim]
  int32_t sequences;
  int32_t heads;
  int32_t kv_heads;        // heads / kv_heads is at most 8
  int32_t head_dim;
  PagedKv kv;
  SketchPool sketches;
  const int32_t* lengths;  // device, [sequences], tokens including the query's own; at least 1, at most max_length
  int32_t max_length;
  float scale;
  int32_t min_tokens;      // at most 16384
  int32_t sink_tokens;     // rounded up to whole blocks
  int32_t window_tokens;   // sink and window together are at most 8192
  float rescore;           // share of the keys between sink and window that is scored exactly
  int32_t min_rescore;     // keys
  float keep;              // of the mass of what was scored exactly, below 1
  uint8_t* workspace;      // device, SketchDecodeBytes(...) bytes, 16-byte aligned
  int32_t* counts;         // device, [sequences][heads][2] keys scored exactly and keys attended, or null
};

int64_t SketchDecodeBytes(int32_t sequences, int32_t heads, int32_t max_length);

// Errors: cudaErrorInvalidValue for shapes it does not serve, cudaErrorNotSupported before sm_90, and what the launch reports.
cudaError_t LaunchSketchDecode(const SketchDecode& params, cudaStream_t stream);

}  // namespace longshore::cuda
