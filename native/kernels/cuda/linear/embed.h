// Gathers the embeddings of a step's tokens.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

struct Embed {
  const bf16* table;      // [vocab][hidden]
  const int32_t* tokens;  // device, [rows], each in [0, vocab)
  bf16* out;              // [rows][hidden]
  int32_t rows;
  int32_t hidden;         // a multiple of 8
  float scale;            // 1, or what the family multiplies embeddings by
};

cudaError_t LaunchEmbed(const Embed& params, cudaStream_t stream);

}  // namespace longshore::cuda
