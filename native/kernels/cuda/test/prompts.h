// Random sequences in a paged pool whose blocks lie in random order and whose memory began as NaN, with the plain tensors beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cuda/kv_write.h"
#include "kernels/cuda/test/device_array.h"
#include "kernels/cuda/test/slow_twins.h"

namespace longshore::cuda::test {

// A prompt of start + length tokens of which the last `length` are prefilled now; the others are its cached prefix.
struct Prompt {
  int32_t start;
  int32_t length;
};

class Prompts {
 public:
  // Every tile's queries share a direction, and so do the keys of every block, so that scores differ by block as they do in real
  // attention; `contrast` says how strongly (0: white noise).
  Prompts(const std::vector<Prompt>& prompts, int32_t heads, int32_t kv_heads, float contrast, uint32_t seed, int32_t head_dim = 128);

  int32_t heads, kv_heads, head_dim;
  float scale;                 // 1 / sqrt(head_dim)
  int32_t rows = 0;            // of queries
  int32_t max_blocks = 0;      // of the longest sequence
  std::vector<int32_t> context_rows, totals;
  std::vector<PrefillTile> tiles;
  std::unique_ptr<DeviceArray<bf16>> q, k, v, pool, means;
  std::unique_ptr<DeviceArray<int32_t>> table, context_row, lengths;
  std::unique_ptr<DeviceArray<PrefillTile>> device_tiles;
  PagedKv kv;
  BlockMeans block_means;
  PlainContext context;
};

// ||a - b|| / ||b||; NaN when a holds any.
double RelativeError(const std::vector<bf16>& a, const std::vector<float>& b);

}  // namespace longshore::cuda::test
