// Draws the next token of each row from its logits on the card, as engine/sampler.h does on the host.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace longshore::cuda {

// Penalties, biases and bans are the host sampler's alone: the caller applies them to the logits, or samples there.
struct RowSampling {
  float temperature;  // 0: the best token
  float top_p;        // (0, 1]
  float min_p;        // [0, 1]
  int32_t top_k;      // 0: off
  uint64_t seed;
  uint64_t position;  // that the drawn token will have: (seed, position) decide the draw
};

// The same filters in the same order as the host's Sample, ties to the lower id. Weights are summed in steps of 2^-43 of the best token's, so
// the token is the host's unless a boundary between two tokens lies within about 1e-8 of where the draw or top_p falls.
struct Sampling {
  const float* logits;      // [rows][vocab], finite or -infinity
  const RowSampling* rows;  // device, [row_count]
  int32_t row_count;
  int32_t vocab;            // at most 327680
  int32_t* tokens;          // [row_count]; -1 when no logit is above -infinity or one is NaN or +infinity
  float* logprobs;          // [row_count] of the drawn token under the plain softmax, or null
};

cudaError_t LaunchSampling(const Sampling& params, cudaStream_t stream);

}  // namespace longshore::cuda
