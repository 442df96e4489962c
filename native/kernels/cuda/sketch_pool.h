// 1-bit sketches of cached keys on the device, one entry beside each (block of the pool, kv head): what a sketch is stands in
// engine/decode/sketch_index.h and docs/design/0018; the bits are laid out for the tensor cores here.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda {

// Channels of a rotated key: head_dim rounded up to a power of two. 64, 128 and 256 are implemented.
__host__ __device__ constexpr int SketchDepth(int head_dim) { return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256; }

// An entry is the signs, then 128 factors (fp16), then the mean key (bf16, [SketchDepth]).
//
// Signs: word w of lane l is word (w / 4 * 32 + l) * 4 + w % 4. Lane l = 4g + c keeps keys 16 t + 8 h + g and channels 16 j + 4 c + b: the bit of
// channel (j, b) is 8 b + j % 8 of the word, so that (word >> j) & 0x01010101 is a register of the int8 product's left operand. At depth 128 the
// word of (t, h) is w = 2 t + h; at 64 both halves share word t (half 1 in the upper four bits of each byte); at 256 w = 2 (2 t + h) + j / 8.
// Factors: that of key 16 t + r lies at r * 8 + t.
__host__ __device__ constexpr int SketchSignBytes(int head_dim) { return kBlockTokens * SketchDepth(head_dim) / 8; }
__host__ __device__ constexpr int SketchFactorOffset(int head_dim) { return SketchSignBytes(head_dim); }
__host__ __device__ constexpr int SketchMeanOffset(int head_dim) { return SketchSignBytes(head_dim) + kBlockTokens * 2; }
__host__ __device__ constexpr int SketchBytes(int head_dim) { return SketchMeanOffset(head_dim) + SketchDepth(head_dim) * 2; }

struct SketchPool {
  uint8_t* entries;      // entry of pool block b, kv head h at entries + b * block_stride + h * head_stride; 16-byte aligned
  int64_t block_stride;  // bytes
  int64_t head_stride;   // bytes, at least SketchBytes(head_dim)
};

// Sketches of the whole blocks of these tiles, read from the pool; tiles with last < 128 are skipped.
struct SketchBuild {
  PagedKv kv;
  SketchPool sketches;
  int32_t kv_heads;
  int32_t head_dim;
  const PrefillTile* tiles;  // device, [tile_count]
  int32_t tile_count;
};

// Errors: cudaErrorInvalidValue for shapes it does not serve, and what the launch reports.
cudaError_t LaunchSketchBuild(const SketchBuild& params, cudaStream_t stream);

}  // namespace longshore::cuda
