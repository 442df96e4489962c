// The int8 codec of stored blocks (docs/design/0001) between the paged pool and stored bytes on the card, bit for bit what the host writes and
// reads, for finite keys and values.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

// One layer's blocks: block i of the list is block `blocks[i]` of the pool and lies at stored + i * stored_stride.
struct Int8Blocks {
  PagedKv kv;             // block_table unused
  const int32_t* blocks;  // device, [count]
  int32_t count;
  int32_t tokens;         // of every block, 1..128: a shorter last block is a list of its own
  int32_t kv_heads;
  int32_t head_dim;       // 64, 128 or 256
  uint8_t* stored;        // device, 16-byte aligned
  int64_t stored_stride;  // bytes, a multiple of 16, at least Int8BlockBytes
};

// K then V: kv_heads x (head_dim f32 + tokens * head_dim), kv_heads x (tokens f32 + tokens * head_dim).
int64_t Int8BlockBytes(int32_t kv_heads, int32_t head_dim, int32_t tokens);

cudaError_t LaunchInt8Encode(const Int8Blocks& params, cudaStream_t stream);
// Tokens past `tokens` of the pool's block become zeros.
cudaError_t LaunchInt8Decode(const Int8Blocks& params, cudaStream_t stream);

}  // namespace longshore::cuda
