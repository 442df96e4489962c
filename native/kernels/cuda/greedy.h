// The best token of each row of logits, and its log-probability.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace longshore::cuda {

struct Greedy {
  const float* logits;  // [rows][vocab], finite or -infinity
  int32_t rows;
  int32_t vocab;
  int32_t* tokens;      // [rows] the lowest id of the largest logits; -1 when a logit is NaN or +infinity, or all are -infinity
  float* logprobs;      // [rows] of that token under the softmax of the row
  void* partial;        // device, GreedyPartialBytes(rows), 16-byte aligned
};

int64_t GreedyPartialBytes(int32_t rows);

cudaError_t LaunchGreedy(const Greedy& params, cudaStream_t stream);

}  // namespace longshore::cuda
