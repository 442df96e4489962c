// The kernels' slow twins: the same functions from unpaged tensors in the most obvious fp32 arithmetic. They are the oracle and stay.
#pragma once

#include <cstdint>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda::test {

// k, v: [context tokens][kv_heads][head_dim], sequence i's tokens begin at context_row[i].
struct PlainContext {
  const bf16* k;
  const bf16* v;
  const int32_t* context_row;
  int32_t kv_heads;
  int32_t head_dim;
};

// out fp32 [rows][heads][head_dim]; mask as in PrefillAttention, or null.
void SlowPrefill(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                 const uint32_t* mask, int32_t mask_words, float* out, int32_t sliding_window = 0);

// energy fp32 [heads][tile_count][max_blocks], only blocks at or before the tile's own are written.
void SlowBlockEnergy(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                     int32_t max_blocks, float* energy);

// mass fp32 [heads][tile_count][128 rows][max_blocks]: sum over a listed block's keys at or before the row of exp(score - the row's largest
// over all listed keys); 0 for blocks not listed.
void SlowBlockMass(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                   const uint32_t* mask, int32_t mask_words, int32_t max_blocks, float* mass);

// One query per sequence at its last token: q [sequences][heads][head_dim], out fp32.
void SlowDecode(const bf16* q, int32_t heads, const PlainContext& context, const int32_t* lengths, int32_t sequences, float scale, float* out,
                int32_t sliding_window = 0);

}  // namespace longshore::cuda::test
