// The device pool of keys and values, as every CUDA attention kernel reads it.
//
// A block holds 128 tokens. The keys of one block and one kv head are one contiguous tile (32 KB at head_dim 128), and so are its values, so
// that one bulk copy of the copy engine brings a tile to shared memory ready for the tensor cores: the pool itself is stored in the
// 128-byte-swizzled order that wgmma reads. Contract: every element of a block that any sequence maps is finite, also past the
// sequence's end (kv_write zeroes the rest of a block it opens), because 0 * NaN would leak through the softmax's zeros; and channels
// between head_dim and its padded size are zero.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

constexpr int kBlockTokens = 128;
constexpr int kMaxHeadDim = 256;
constexpr int kPanelChannels = 64;
constexpr int kPanelElements = kBlockTokens * kPanelChannels;

// Head dimensions that any kernel serves.
__host__ __device__ constexpr bool ServesHeadDim(int head_dim) { return head_dim > 0 && head_dim % 8 == 0 && head_dim <= kMaxHeadDim; }

// A tile is a row of panels of 64 channels; head_dim 96 fills one and a half.
__host__ __device__ constexpr int PaddedHeadDim(int head_dim) { return (head_dim + kPanelChannels - 1) / kPanelChannels * kPanelChannels; }
__host__ __device__ constexpr int TileElements(int head_dim) { return kBlockTokens * PaddedHeadDim(head_dim); }
__host__ __device__ constexpr int TileBytes(int head_dim) { return TileElements(head_dim) * 2; }

// Element (token, channel) of a tile of any head_dim: panels of [128 tokens][128 bytes], where the 16-byte chunks of a row are permuted
// by the row's low three bits (PTX ISA, "128-byte swizzle").
__host__ __device__ constexpr int TileOffset(int token, int channel) {
  return (channel >> 6) * kPanelElements + token * kPanelChannels + ((((channel >> 3) & 7) ^ (token & 7)) << 3) + (channel & 7);
}

// Shapes of one layer's pool; head_dim is the caller's, and strides are at least what a tile needs: TileElements(head_dim).
struct PagedKv {
  bf16* k;                     // block b, kv head h: tile at k + b * block_stride + h * head_stride
  bf16* v;                     // the same strides
  int64_t block_stride;        // elements
  int64_t head_stride;         // elements
  const int32_t* block_table;  // [sequences][table_stride] -> block of the pool
  int32_t table_stride;
};

}  // namespace longshore::cuda
