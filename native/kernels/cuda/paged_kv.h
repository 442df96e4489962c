// The device pool of keys and values, as every CUDA attention kernel reads it.
//
// A block holds 128 tokens. The keys of one block and one kv head are one contiguous tile of 32 KB, and so are its values, so that
// one bulk copy of the copy engine brings a tile to shared memory ready for the tensor cores: the pool itself is stored in the
// 128-byte-swizzled order that wgmma reads. Contract: every element of a block that any sequence maps is finite, also past the
// sequence's end (kv_write zeroes the rest of a block it opens), because 0 * NaN would leak through the softmax's zeros.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

constexpr int kBlockTokens = 128;
constexpr int kHeadDim = 128;
constexpr int kTileElements = kBlockTokens * kHeadDim;
constexpr int kTileBytes = kTileElements * 2;

// Element (token, channel) of a tile: two halves of 64 channels, each [128 tokens][128 bytes], where the 16-byte chunks of
// a row are permuted by the row's low three bits (PTX ISA, "128-byte swizzle").
__host__ __device__ constexpr int TileOffset(int token, int channel) {
  return (channel >> 6) * (kTileElements / 2) + token * 64 + ((((channel >> 3) & 7) ^ (token & 7)) << 3) + (channel & 7);
}

struct PagedKv {
  bf16* k;                     // block b, kv head h: tile at k + b * block_stride + h * head_stride
  bf16* v;                     // the same strides
  int64_t block_stride;        // elements
  int64_t head_stride;         // elements
  const int32_t* block_table;  // [sequences][table_stride] -> block of the pool
  int32_t table_stride;
};

}  // namespace longshore::cuda
