// First look of sparse prefill: scores of queries against block means, and the energy of each block.
#pragma once

#include "kernels/attention.inl.h"
#include "kernels/elementwise.inl.h"
#include "kernels/kernels.h"

namespace longshore::kernels {
namespace {

template <class S, KvKind kKind>
void ScoreRows(const Attend& p, uint32_t columns) {
  constexpr uint32_t kWidth = 16 * S::kTileVectors;
  const uint32_t rounded = (columns + kWidth - 1) / kWidth * kWidth;
  if constexpr (kKind == KvKind::kBf16 && S::kBf16Dot) ScoreTile<S, kKind>(p, p.q_bf16, 0, p.k_tiles[0], rounded);
  else ScoreTile<S, kKind>(p, p.q, 0, p.k_tiles[0], rounded);
}

template <class S>
void Energies(const float* scores, uint32_t rows, uint32_t columns, float* energy) {
  const uint32_t vectors = (columns + 15) / 16;
  const auto nothing = S::Set(kMinusInfinity);
  const auto at = [&](uint32_t r, uint32_t v) __attribute__((always_inline)) {
    return scores + (size_t{v / 8} * rows + r) * kKeyTile + v % 8 * 16;
  };
  for (uint32_t v = 0; v < vectors; ++v) S::Store(energy + 16 * v, S::Zero());
  for (uint32_t r = 0; r < rows; ++r) {
    auto best = nothing;
    for (uint32_t v = 0; v < vectors; ++v) {
      auto x = S::Load(at(r, v));
      if (16 * (v + 1) > columns) x = S::Keep(x, static_cast<int>(columns - 16 * v), nothing);
      best = S::Max(x, best);
    }
    const auto shift = S::Set(S::MaxLanes(best));
    for (uint32_t v = 0; v < vectors; ++v)
      S::Store(energy + 16 * v, S::Add(S::Load(energy + 16 * v), Exp2<S, 3>(S::Sub(S::Load(at(r, v)), shift))));
  }
}

// The i-th channel's values of the 16 keys from `key`, of a K tile.
template <class S, KvKind kKind>
LONGSHORE_VECTOR typename S::F KeyChannel(const void* tile, uint32_t channel, uint32_t key) {
  if constexpr (kKind == KvKind::kF32) {
    return S::Load(static_cast<const float*>(tile) + size_t{channel} * kKeyTile + key);
  } else {
    const uint32_t* pairs = static_cast<const uint32_t*>(tile) + size_t{channel / 2} * kKeyTile + key;
    uint32_t bits[16];
    for (int i = 0; i < 16; ++i) bits[i] = channel % 2 ? pairs[i] & 0xffff0000u : pairs[i] << 16;
    float values[16];
    __builtin_memcpy(values, bits, sizeof values);
    return S::Load(values);
  }
}

template <class S, KvKind kKind>
void EncodeKeys(const void* k_tile, uint32_t head_dim, float* mean, uint8_t* codes, float* scale) {
  for (uint32_t c = 0; c < head_dim; ++c) {
    auto sum = S::Zero();
    for (uint32_t key = 0; key < kKeyTile; key += 16) sum = S::Add(sum, KeyChannel<S, kKind>(k_tile, c, key));
    mean[c] = S::SumLanes(sum) * (1.f / kKeyTile);
  }
  if (codes == nullptr) return;
  for (uint32_t key = 0; key < kKeyTile; key += 16) {
    auto most = S::Zero();
    for (uint32_t c = 0; c < head_dim; ++c)
      most = S::Max(S::Abs(S::Sub(KeyChannel<S, kKind>(k_tile, c, key), S::Set(mean[c]))), most);
    float extreme[16], inverse[16];
    S::Store(extreme, most);
    for (int i = 0; i < 16; ++i) {
      inverse[i] = extreme[i] > 0.f ? 127.f / extreme[i] : 0.f;
      scale[key + i] = extreme[i] * (1.f / 127.f);
    }
    const auto by = S::Load(inverse);
    for (uint32_t c = 0; c < (head_dim + 3) / 4 * 4; ++c) {
      int8_t q[16] = {};
      if (c < head_dim) S::StoreInt8(q, S::ToInt(S::Mul(S::Sub(KeyChannel<S, kKind>(k_tile, c, key), S::Set(mean[c])), by)));
      uint8_t* out = codes + (size_t{c / 4} * kKeyTile + key) * 4 + c % 4;
      for (int i = 0; i < 16; ++i) out[4 * i] = static_cast<uint8_t>(q[i] + 128);
    }
  }
}

}  // namespace
}  // namespace longshore::kernels
