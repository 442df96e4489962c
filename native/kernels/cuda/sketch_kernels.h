// What the two kernels of sketch decode share: the blocks that are scanned and the scores between them.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/sketch_decode.h"

namespace longshore::cuda {

constexpr int kSketchGroups = 16;  // of a block: group r holds keys r, r + 16, ... r + 112
constexpr int kGroupKeys = 8;
constexpr int kMaxSketchList = 24576;  // keys that a thread block of the second kernel can hold

// Blocks [first, last) of a sequence are scanned; empty below min_tokens.
struct SketchRange {
  int first, last;
};
__host__ __device__ inline SketchRange ScannedBlocks(const SketchDecode& params, int length) {
  if (length < params.min_tokens) return {0, 0};
  const int sink = (params.sink_tokens + kBlockTokens - 1) / kBlockTokens;
  const int window = length > params.window_tokens ? (length - params.window_tokens) / kBlockTokens : 0;
  const int own = (length - 1) / kBlockTokens;  // the token's own block is incomplete or has just been completed
  const int last = window < own ? window : own;
  return last > sink ? SketchRange{sink, last} : SketchRange{0, 0};
}

// The workspace: estimates [sequences][heads][max_blocks][16 groups][8 keys] fp16, then each group's best [sequences][heads][max_blocks][16] fp16.
struct SketchScores {
  __half* scores;
  __half* best;
  int max_blocks;
};
__host__ __device__ inline SketchScores ScoresOf(const SketchDecode& params) {
  const int max_blocks = (params.max_length + kBlockTokens - 1) / kBlockTokens;
  __half* scores = reinterpret_cast<__half*>(params.workspace);
  return {scores, scores + static_cast<int64_t>(params.sequences) * params.heads * max_blocks * kBlockTokens, max_blocks};
}

cudaError_t LaunchSketchScan(const SketchDecode& params, cudaStream_t stream);
cudaError_t LaunchSketchAttend(const SketchDecode& params, cudaStream_t stream);

}  // namespace longshore::cuda
