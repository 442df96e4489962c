// The stored order of a block's KV (engine.h) and the card's tiles, translated on the host.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

// Calls copy(16 bytes of a tile set, 16 bytes of raw) for each eight channels of one block and layer.
// tiles: [2 * kv_heads][TileElements(head_dim)] bf16; raw: [2 * kv_heads][tokens][head_dim] bf16, head_dim a multiple of 8.
template <typename Tiles, typename Raw, typename Copy>
void ForChunks(Tiles* tiles, Raw* raw, uint32_t kv_heads, uint32_t tokens, uint32_t head_dim, const Copy& copy) {
  for (uint32_t plane = 0; plane < 2 * kv_heads; ++plane, tiles += 2 * static_cast<size_t>(TileElements(static_cast<int>(head_dim))))
    for (uint32_t token = 0; token < tokens; ++token)
      for (uint32_t channel = 0; channel < head_dim; channel += 8, raw += 16)
        copy(tiles + 2 * TileOffset(static_cast<int>(token), static_cast<int>(channel)), raw);
}

inline void TilesToRaw(const uint8_t* tiles, uint8_t* raw, uint32_t kv_heads, uint32_t tokens, uint32_t head_dim) {
  ForChunks(tiles, raw, kv_heads, tokens, head_dim, [](const uint8_t* tile, uint8_t* plain) { std::memcpy(plain, tile, 16); });
}

inline void RawToTiles(const uint8_t* raw, uint8_t* tiles, uint32_t kv_heads, uint32_t tokens, uint32_t head_dim) {
  ForChunks(tiles, raw, kv_heads, tokens, head_dim, [](uint8_t* tile, const uint8_t* plain) { std::memcpy(tile, plain, 16); });
}

}  // namespace longshore::cuda
