#include "engine/sparse/mean_tiles.h"

#include <algorithm>

#include "engine/sparse/tile_columns.h"

namespace longshore {

Status MeanTiles::Allocate(const KvPool& pool, uint32_t max_blocks, bool values) {
  pool_ = &pool;
  values_ = values;
  tiles_ = (max_blocks + kBlockTokens - 1) / kBlockTokens;
  const uint64_t element = KvPool::ElementBytes(pool.shape().dtype);
  k_bytes_ = (pool.shape().head_dim * element * kBlockTokens + 63) / 64 * 64;
  v_bytes_ = values ? pool.padded() * element * kBlockTokens : 0;
  return memory_.Allocate(uint64_t{pool.shape().kv_heads} * tiles_ * (k_bytes_ + v_bytes_), "block means");
}

void MeanTiles::Gather(ThreadPool& threads, const kernels::KernelTable& kernels, const AttentionItem& item, uint32_t layer, BlockIndex& index) {
  const uint32_t heads = pool_->shape().kv_heads, end = item.position + item.tokens;
  const uint32_t whole = end / kBlockTokens, rest = end % kBlockTokens;
  stale_.clear();
  for (uint32_t b = 0; b < whole; ++b)
    for (uint32_t h = 0; h < heads; ++h)
      if (index.Stale(item.block_table[b], layer, h)) stale_.push_back(b * heads + h);
  threads.Run(static_cast<uint32_t>(stale_.size()), [&](uint32_t task, uint32_t) {
    index.Build(kernels, item.block_table[stale_[task] / heads], layer, stale_[task] % heads);
  });
  threads.Run(heads * ((whole + kBlockTokens - 1) / kBlockTokens), [&](uint32_t task, uint32_t) {
    const uint32_t h = task % heads, first = task / heads * kBlockTokens;
    for (uint32_t b = first; b < std::min(whole, first + kBlockTokens); ++b)
      Put(h, b, index.mean_key(item.block_table[b], layer, h), values_ ? index.mean_value(item.block_table[b], layer, h) : nullptr);
  });
  if (rest == 0) return;
  std::vector<float> key(pool_->padded()), value(pool_->padded());
  for (uint32_t h = 0; h < heads; ++h) {
    MeanOfBlock(*pool_, item.block_table[whole], layer, h, rest, key.data(), value.data());
    Put(h, whole, key.data(), values_ ? value.data() : nullptr);
  }
}

void MeanTiles::Put(uint32_t head, uint32_t column, const float* key, const float* value) {
  uint8_t* tile = memory_.data() + Offset(head, column / kBlockTokens);
  PutColumn(*pool_, key, value, tile, tile + k_bytes_, column % kBlockTokens);
}

void MeanTiles::Pick(uint32_t head, const uint32_t* columns, uint32_t count, void* k, void* v) const {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t tile = columns[i] / kBlockTokens;
    CopyColumn(*pool_, KTile(head, tile), VTile(head, tile), columns[i] % kBlockTokens, k, v, i);
  }
}

}  // namespace longshore
