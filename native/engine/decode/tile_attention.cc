#include "engine/decode/tile_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace longshore {

using kernels::kKeyTile;

Status TileAttention::Allocate(const KvPool& pool) {
  pool_ = &pool;
  padded_ = pool.padded();
  const uint64_t row = (uint64_t{padded_} * 4 + 63) / 64 * 64, part = (uint64_t{2 + padded_} * 4 + 63) / 64 * 64, tile = kKeyTile * 4;
  if (Status s = memory_.Allocate(2 * row + 2 * part + 2 * tile, "decode scratch"); !s.ok()) return s;
  Carver carver(memory_);
  const auto floats = [&](uint64_t bytes) { return reinterpret_cast<float*>(carver.Take<uint8_t>(bytes)); };
  row_ = floats(row);
  row_bf16_ = reinterpret_cast<uint16_t*>(floats(row));
  tile_scores_ = floats(tile);
  probabilities_ = floats(tile);
  sum_ = floats(part);
  part_ = floats(part);
  return Status::Ok();
}

void TileAttention::Start(const kernels::KernelTable& kernels, const AttentionItem& item, uint32_t layer, uint32_t kv_head, const float* q) {
  item_ = &item;
  layer_ = layer;
  kv_head_ = kv_head;
  started_ = false;
  std::copy_n(q, pool_->shape().head_dim, row_);
  kernels.to_bf16(row_, padded_, row_bf16_);
}

void TileAttention::AddTiles(const kernels::KernelTable& kernels, std::span<const uint32_t> tiles) {
  kernels::Attend a{};
  a.q = row_;
  a.q_bf16 = row_bf16_;
  a.rows = a.group = 1;
  a.position = item_->position;
  a.head_dim = pool_->shape().head_dim;
  a.padded = padded_;
  a.scores = tile_scores_;
  a.probabilities = probabilities_;
  for (size_t at = 0; at < tiles.size(); at += kSplitTiles) {
    const void *k_tiles[kSplitTiles], *v_tiles[kSplitTiles];
    uint32_t first_keys[kSplitTiles];
    a.tiles = static_cast<uint32_t>(std::min<size_t>(kSplitTiles, tiles.size() - at));
    for (uint32_t t = 0; t < a.tiles; ++t) {
      const uint32_t block = item_->block_table[tiles[at + t]];
      first_keys[t] = tiles[at + t] * kKeyTile;
      k_tiles[t] = pool_->KTile(block, layer_, kv_head_);
      v_tiles[t] = pool_->VTile(block, layer_, kv_head_);
    }
    a.first_keys = first_keys;
    a.k_tiles = k_tiles;
    a.v_tiles = v_tiles;
    float* to = started_ ? part_ : sum_;
    a.m = to;
    a.l = to + 1;
    a.o = to + 2;
    kernels.attend[static_cast<size_t>(kernels::KvKind::kBf16)](a);
    if (started_) kernels.merge(sum_, sum_ + 1, sum_ + 2, a.m, a.l, a.o, 1, padded_);
    started_ = true;
  }
}

uint32_t TileAttention::AddKeys(const kernels::KernelTable& kernels, std::span<const Key> keys, float keep, float* best, float* mass) {
  float m = sum_[0];
  for (const Key& key : keys) m = std::max(m, key.score);
  const float cut = m - std::log2(static_cast<float>(std::max<size_t>(1, keys.size())) / (1.f - keep));
  scores_.clear();
  values_.clear();
  for (const Key& key : keys) {
    if (key.score < cut) continue;
    const uint32_t slot = key.key % kKeyTile;
    const auto* tile = static_cast<const uint16_t*>(pool_->VTile(item_->block_table[key.key / kKeyTile], layer_, kv_head_));
    scores_.push_back(key.score);
    values_.push_back(tile + size_t{slot / 2} * padded_ * 2 + slot % 2);
  }
  const auto count = static_cast<uint32_t>(values_.size());
  scores_.resize((count + 15) / 16 * 16 + 16, 0.f);  // the kernel reads whole vectors
  part_[0] = m;
  part_[1] = 0.f;
  std::memset(part_ + 2, 0, padded_ * sizeof(float));
  kernels.attend_keys({scores_.data(), values_.data(), count, padded_, m, part_ + 1, part_ + 2});
  *best = m;
  *mass = part_[1];
  kernels.merge(sum_, sum_ + 1, sum_ + 2, part_, part_ + 1, part_ + 2, 1, padded_);
  return count;
}

void TileAttention::Finish(float* out) const {
  const float inverse = 1.f / sum_[1];
  for (uint32_t c = 0; c < pool_->shape().head_dim; ++c) out[c] = sum_[2 + c] * inverse;
}

}  // namespace longshore
