// Flash attention over 128-key tiles: scores, online softmax, weighted values; a tile's scores live in cache, never more.
//
// Why the bits do not depend on the batch: a row's sequence is fixed by its own position: tiles in order, in a tile all products
// in the order of channels, the softmax over the vectors that hold keys it sees, values in the order of keys. Keys that other
// rows of the call see but this one does not enter with probability exactly 0, which changes no sum.
#pragma once

#include <type_traits>

#include "kernels/elementwise.inl.h"
#include "kernels/kernels.h"
#include "kernels/matrix_tile.inl.h"

namespace longshore::kernels {
namespace {

constexpr float kMinusInfinity = -__builtin_huge_valf();

// scores[r][0, columns) for rows [row, rows).
template <class S, KvKind kKind, class A>
void ScoreTile(const Attend& p, const A* q, uint32_t row, const void* keys, uint32_t columns) {
  constexpr uint32_t kWidth = 16 * S::kTileVectors;
  for (uint32_t c = 0; c < columns; c += kWidth) {
    ForTiles<S::kTileRows>(p.rows - row, [&]<int kR>(uint32_t r, Height<kR>) __attribute__((always_inline)) {
      using T = Tile<S, kR, S::kTileVectors>;
      T t;
      T::Zero(t);
      const A* a = q + (row + r) * size_t{p.head_dim};
      if constexpr (kKind == KvKind::kF32)
        MultiplyFloats(t, a, p.head_dim, static_cast<const float*>(keys) + c, kKeyTile, 16, p.head_dim);
      else
        MultiplyPairs(t, a, p.head_dim, static_cast<const uint16_t*>(keys) + 2 * c, 2 * kKeyTile, p.head_dim / 2, false);
      T::Store(t, p.scores + (row + r) * kKeyTile + c, kKeyTile);
    });
  }
}

// One row of a tile: turns scores of the visible keys [first, keys) into probabilities (zeros elsewhere up to `columns`), updates m, l and o.
template <class S, class A>
LONGSHORE_VECTOR void SoftmaxRow(const Attend& p, uint32_t row, uint32_t first, uint32_t keys, uint32_t columns) {
  using F = typename S::F;
  constexpr uint32_t kVectors = kKeyTile / 16;
  const float* s = p.scores + row * kKeyTile;
  A* out = static_cast<A*>(p.probabilities) + row * size_t{kKeyTile};
  // Probabilities that will be bf16 need no better exponential.
  constexpr int kDegree = std::is_same_v<A, uint16_t> ? 3 : 5;
  const F nothing = S::Set(kMinusInfinity);
  const uint32_t vectors = (keys + 15) / 16;
  F x[kVectors];
  F best = nothing;
  for (uint32_t v = 0; v < vectors; ++v) {
    x[v] = S::Load(s + 16 * v);
    if (16 * (v + 1) > keys) x[v] = S::Keep(x[v], static_cast<int>(keys - 16 * v), nothing);
    if (first > 16 * v) x[v] = first >= 16 * (v + 1) ? nothing : S::Keep(nothing, static_cast<int>(first - 16 * v), x[v]);
    best = S::Max(x[v], best);
  }
  const float old_m = p.m[row];
  const float tile_m = S::MaxLanes(best);
  const float m = tile_m > old_m ? tile_m : old_m;
  const F shift = S::Set(m);
  F sum = S::Zero();
  for (uint32_t v = 0; v < vectors; ++v) {
    const F e = Exp2<S, kDegree>(S::Sub(x[v], shift));
    sum = S::Add(sum, e);
    if constexpr (std::is_same_v<A, uint16_t>) S::StoreBf16(out + 16 * v, e);
    else S::Store(out + 16 * v, e);
  }
  for (uint32_t v = vectors; v < columns / 16; ++v) {
    if constexpr (std::is_same_v<A, uint16_t>) __builtin_memset(out + 16 * v, 0, 32);
    else S::Store(out + 16 * v, S::Zero());
  }
  float l = p.l[row];
  if (m != old_m) {
    const F shrink = Exp2<S>(S::Set(old_m - m));
    float one[16];
    S::Store(one, shrink);
    l *= one[0];
    float* o = p.o + row * size_t{p.padded};
    for (uint32_t d = 0; d < p.padded; d += 16) S::Store(o + d, S::Mul(S::Load(o + d), shrink));
    p.m[row] = m;
  }
  p.l[row] = l + S::SumLanes(sum);
}

// o[r] += probabilities[r][0, keys) * values.
template <class S, KvKind kKind, class A, int kV>
LONGSHORE_VECTOR void ValueColumns(const Attend& p, uint32_t row, const void* values, uint32_t keys, uint32_t d) {
  const A* probabilities = static_cast<const A*>(p.probabilities);
  ForTiles<S::kTileRows>(p.rows - row, [&]<int kR>(uint32_t r, Height<kR>) __attribute__((always_inline)) {
    using T = Tile<S, kR, kV>;
    T t;
    float* o = p.o + (row + r) * size_t{p.padded} + d;
    T::Load(t, o, p.padded);
    const A* a = probabilities + (row + r) * size_t{kKeyTile};
    if constexpr (kKind == KvKind::kF32)
      MultiplyFloats(t, a, kKeyTile, static_cast<const float*>(values) + d, p.padded, 16, keys);
    else
      MultiplyPairs(t, a, kKeyTile, static_cast<const uint16_t*>(values) + 2 * d, 2 * size_t{p.padded}, keys / 2, keys % 2 != 0);
    T::Store(t, o, p.padded);
  });
}

// Rows [row, p.rows), each of which sees a key of the tile that begins with key k0 and holds `held` keys.
template <class S, KvKind kKind, class A>
LONGSHORE_VECTOR void AttendTile(const Attend& p, const A* q, uint32_t row, uint32_t k0, uint32_t held, const void* k_tile, const void* v_tile) {
  constexpr uint32_t kWidth = 16 * S::kTileVectors;
  const uint32_t last = p.position + (p.rows - 1) / p.group;
  const uint32_t keys = last - k0 + 1 < held ? last - k0 + 1 : held;
  const uint32_t columns = (keys + kWidth - 1) / kWidth * kWidth;
  ScoreTile<S, kKind>(p, q, row, k_tile, columns);
  for (uint32_t r = row; r < p.rows; ++r) {
    const uint32_t position = p.position + r / p.group, visible = position - k0 + 1;
    const uint32_t first = p.window > 0 && position + 1 > k0 + p.window ? position + 1 - k0 - p.window : 0;
    SoftmaxRow<S, A>(p, r, first, visible < held ? visible : held, columns);
  }
  uint32_t d = 0;
  for (; d + kWidth <= p.padded; d += kWidth) ValueColumns<S, kKind, A, S::kTileVectors>(p, row, v_tile, keys, d);
  if constexpr (S::kTileVectors > 1)
    for (; d < p.padded; d += 16) ValueColumns<S, kKind, A, 1>(p, row, v_tile, keys, d);
}

template <class S, KvKind kKind>
void AttendSplit(const Attend& p) {
  constexpr bool kPairs = kKind == KvKind::kBf16 && S::kBf16Dot;
  using A = std::conditional_t<kPairs, uint16_t, float>;
  const A* q;
  if constexpr (kPairs) q = p.q_bf16;
  else q = p.q;
  for (uint32_t r = 0; r < p.rows; ++r) {
    p.m[r] = kMinusInfinity;
    p.l[r] = 0.f;
  }
  __builtin_memset(p.o, 0, sizeof(float) * p.rows * p.padded);
  Attend seen = p;  // its rows end where a tile lies before the window of those that follow
  const uint32_t last = p.position + (p.rows - 1) / p.group;
  for (uint32_t tile = 0; tile < p.tiles; ++tile) {
    const uint32_t k0 = p.first_keys ? p.first_keys[tile] : p.first_key + tile * kKeyTile;
    if (k0 > last) break;
    const uint32_t held = p.key_counts ? p.key_counts[tile] : kKeyTile;
    const uint32_t row = k0 > p.position ? (k0 - p.position) * p.group : 0;  // first row that sees a key of this tile
    const uint32_t beyond = k0 + kKeyTile - 1 + p.window;                    // first position that sees none any more
    if (p.window > 0) {
      if (beyond <= p.position + row / p.group) continue;
      const uint32_t rows = (beyond - p.position) * p.group;
      seen.rows = rows < p.rows ? rows : p.rows;
    }
    AttendTile<S, kKind, A>(seen, q, row, k0, held, p.k_tiles[tile], p.v_tiles[tile]);
  }
}

template <class S>
void MergeParts(float* m, float* l, float* o, const float* m2, const float* l2, const float* o2, uint32_t rows, uint32_t padded) {
  for (uint32_t r = 0; r < rows; ++r) {
    if (m2[r] == kMinusInfinity) continue;
    const float best = m[r] > m2[r] ? m[r] : m2[r];
    float power[16];
    const auto a = Exp2<S>(S::Set(m[r] - best));
    const auto b = Exp2<S>(S::Set(m2[r] - best));
    S::Store(power, a);
    l[r] *= power[0];
    S::Store(power, b);
    l[r] = l[r] + l2[r] * power[0];
    m[r] = best;
    float* x = o + r * size_t{padded};
    const float* y = o2 + r * size_t{padded};
    for (uint32_t d = 0; d < padded; d += 16)
      S::Store(x + d, S::Add(S::Mul(S::Load(x + d), a), S::Mul(S::Load(y + d), b)));
  }
}

}  // namespace
}  // namespace longshore::kernels
