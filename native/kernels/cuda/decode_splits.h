// How a decoded token's blocks are split among thread blocks: a function of the sequence's own length and the model alone.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

constexpr int kMaxGroup = 8;       // query heads of a kv head
constexpr int kMaxSplitBlocks = 16;
constexpr int kTargetItems = 128;  // splits x kv heads of one sequence: about one per multiprocessor
constexpr int kMaxSplits = 1024;

__host__ __device__ constexpr int TargetSplits(int kv_heads) { return kv_heads < kTargetItems ? kTargetItems / kv_heads : 1; }
__host__ __device__ constexpr int SplitBlocks(int blocks, int kv_heads) {
  const int wanted = (blocks + TargetSplits(kv_heads) - 1) / TargetSplits(kv_heads);
  return wanted < 1 ? 1 : wanted > kMaxSplitBlocks ? kMaxSplitBlocks : wanted;
}
__host__ __device__ constexpr int Splits(int blocks, int kv_heads) {
  return (blocks + SplitBlocks(blocks, kv_heads) - 1) / SplitBlocks(blocks, kv_heads);
}
// A longer sequence may have fewer splits than a shorter one, so room is sized by the larger of the target and the longest's.
__host__ __device__ constexpr int MaxSplits(int max_length, int kv_heads) {
  const int blocks = (max_length + kBlockTokens - 1) / kBlockTokens, splits = Splits(blocks, kv_heads);
  const int bound = blocks < TargetSplits(kv_heads) ? blocks : TargetSplits(kv_heads);
  return splits > bound ? splits : bound;
}

}  // namespace longshore::cuda
