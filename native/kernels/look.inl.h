// Second look of sparse prefill: scores of single keys from 8-bit codes, without their values.
//
// Integer sums are exact, so all instruction sets see the same products; a block's mean enters in f32, which keeps channels
// that are large in all keys of a block out of the 8 bits.
#pragma once

#include "kernels/elementwise.inl.h"
#include "kernels/kernels.h"
#include "kernels/matrix_tile.inl.h"

namespace longshore::kernels {
namespace {

template <class S>
void QuantizeRows(const float* x, uint32_t rows, uint32_t head_dim, uint32_t depth, int8_t* q, float* scale, int32_t* sum) {
  float row[kMaxHeadDim] = {};
  int8_t codes[kMaxHeadDim];
  for (uint32_t r = 0; r < rows; ++r, x += head_dim, q += depth) {
    __builtin_memcpy(row, x, head_dim * sizeof(float));
    auto best = S::Zero();
    for (uint32_t c = 0; c < head_dim; c += 16) best = S::Max(S::Abs(S::Load(row + c)), best);
    const float most = S::MaxLanes(best);
    const auto inverse = S::Set(most > 0.f ? 127.f / most : 0.f);
    int32_t total = 0;
    for (uint32_t c = 0; c < head_dim; c += 16) {
      const auto i = S::ToInt(S::Mul(S::Load(row + c), inverse));
      S::StoreInt8(codes + c, i);
      total += S::SumLanes(i);
    }
    __builtin_memcpy(q, codes, depth);
    scale[r] = most * (1.f / 127.f);
    sum[r] = total;
  }
}

// sum[r] += products of kSteps groups of four channels with 16 keys' codes, which stay in registers over the rows.
template <class S, int kR, int kSteps>
LONGSHORE_VECTOR void LookDots(typename S::I* sum, const int8_t* q, uint32_t depth, const uint8_t* codes) {
  typename S::Bytes w[kSteps];
#pragma GCC unroll 16
  for (int j = 0; j < kSteps; ++j) w[j] = S::LoadBytes(codes + j * kKeyTile * 4);
#pragma GCC unroll 12
  for (int r = 0; r < kR; ++r) {
    typename S::I dot = sum[r];
#pragma GCC unroll 16
    for (int j = 0; j < kSteps; ++j) dot = S::template DotBytes<8>(dot, w[j], q + size_t{depth} * r + 4 * j);
    sum[r] = dot;
  }
}

// out[i][0, 128) = approximate scores of the rows [row, row + kR).
template <class S, int kR>
LONGSHORE_VECTOR void LookScores(const Look& p, uint32_t row, float (*out)[kKeyTile]) {
  constexpr int kSteps = 4 * S::kTileVectors;
  const int8_t* q = p.q + size_t{row} * p.depth;
  for (uint32_t key = 0; key < kKeyTile; key += 16) {
    typename S::I sum[kR];
    // Unsigned codes stand for themselves less 128.
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r) sum[r] = S::SetInt((S::kByteCentre - 128) * p.q_sum[row + r]);
    const uint8_t* codes = p.keys.codes + size_t{key} * 4;
    uint32_t i = 0;
    for (; i + 4 * kSteps <= p.depth; i += 4 * kSteps) LookDots<S, kR, kSteps>(sum, q + i, p.depth, codes + size_t{i} * kKeyTile);
    for (; i < p.depth; i += 4) LookDots<S, kR, 1>(sum, q + i, p.depth, codes + size_t{i} * kKeyTile);
    const auto scale = S::Load(p.keys.scale + key);
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r)
      S::Store(out[r] + key, S::MulAdd(S::Mul(S::ToFloat(sum[r]), scale), S::Set(p.q_scale[row + r]), S::Set(p.mean_score[size_t{row + r} * kKeyTile])));
  }
}

template <class S>
void LookAt(const Look& p, const float* floor, float* m, float* l) {
  ForTiles<S::kTileRows>(p.rows, [&]<int kR>(uint32_t row, Height<kR>) __attribute__((always_inline)) {
    alignas(64) float scores[kR][kKeyTile];
    LookScores<S, kR>(p, row, scores);
    for (int r = 0; r < kR; ++r) {
      auto best = S::Load(scores[r]);
#pragma GCC unroll 8
      for (uint32_t k = 16; k < kKeyTile; k += 16) best = S::Max(S::Load(scores[r] + k), best);
      const float top = S::MaxLanes(best);
      m[row + r] = top;
      if (floor && top < floor[row + r]) {
        l[row + r] = 0.f;
        continue;
      }
      const auto shift = S::Set(top);
      auto sum = S::Zero();
#pragma GCC unroll 8
      for (uint32_t k = 0; k < kKeyTile; k += 16) sum = S::Add(sum, Exp2<S, 3>(S::Sub(S::Load(scores[r] + k), shift)));
      l[row + r] = S::SumLanes(sum);
    }
  });
}

template <class S>
void KeepByMass(const float* m0, const float* l0, const float* m, const float* l, uint32_t rows, uint32_t count, float tau, uint8_t* keep) {
  for (uint32_t i = 0; i < count; ++i) keep[i] = 0;
  const auto share = S::Set(tau), never = S::Set(-1.f);
  for (uint32_t r = 0; r < rows; r += 16) {
    const int lanes = rows - r < 16 ? static_cast<int>(rows - r) : 16;
    auto best = S::Load(m0 + r);
    for (uint32_t i = 0; i < count; ++i) best = S::Max(S::Load(m + size_t{i} * kKeyTile + r), best);
    auto total = S::Mul(S::Load(l0 + r), Exp2<S>(S::Sub(S::Load(m0 + r), best)));
    const auto mass = [&](uint32_t i) __attribute__((always_inline)) {
      return S::Mul(S::Load(l + size_t{i} * kKeyTile + r), Exp2<S>(S::Sub(S::Load(m + size_t{i} * kKeyTile + r), best)));
    };
    for (uint32_t i = 0; i < count; ++i) total = S::Add(total, mass(i));
    const auto least = S::Mul(total, share);
    for (uint32_t i = 0; i < count; ++i)
      if (!keep[i] && S::MaxLanes(S::Keep(S::Sub(mass(i), least), lanes, never)) >= 0.f) keep[i] = 1;
  }
}

template <class S>
void LookLines(const Look& p, const float* m, const float* inverse_l, float* columns, float* diagonals) {
  ForTiles<S::kTileRows>(p.rows, [&]<int kR>(uint32_t row, Height<kR>) __attribute__((always_inline)) {
    alignas(64) float scores[kR][kKeyTile];
    LookScores<S, kR>(p, row, scores);
    for (int r = 0; r < kR; ++r) {
      const auto shift = S::Set(m[row + r]), by = S::Set(inverse_l[row + r]);
      float* diagonal = diagonals + (p.rows - 1 - (row + r));
#pragma GCC unroll 8
      for (uint32_t k = 0; k < kKeyTile; k += 16) {
        const auto x = S::Mul(Exp2<S, 3>(S::Sub(S::Load(scores[r] + k), shift)), by);
        S::Store(columns + k, S::Add(S::Load(columns + k), x));
        S::Store(diagonal + k, S::Add(S::Load(diagonal + k), x));
      }
    }
  });
}

}  // namespace
}  // namespace longshore::kernels
