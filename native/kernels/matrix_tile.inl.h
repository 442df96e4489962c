// Register tiles of products: kR rows times kV vectors of 16 columns, summed over k in ascending order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::kernels {
namespace {

template <class S, int kR, int kV>
struct Tile {
  typename S::F v[kR][kV];

  LONGSHORE_VECTOR void Zero(Tile& t) {
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) t.v[r][c] = S::Zero();
  }
  LONGSHORE_VECTOR void Load(Tile& t, const float* p, size_t stride) {
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) t.v[r][c] = S::Load(p + r * stride + 16 * c);
  }
  LONGSHORE_VECTOR void Store(const Tile& t, float* p, size_t stride) {
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) S::Store(p + r * stride + 16 * c, t.v[r][c]);
  }
};

template <class S> LONGSHORE_VECTOR typename S::F LoadWeights(const float* p) { return S::Load(p); }
struct F16Bits { uint16_t bits; };
struct Bf16Bits { uint16_t bits; };
template <class S> LONGSHORE_VECTOR typename S::F LoadWeights(const F16Bits* p) { return S::LoadF16(&p->bits); }
template <class S> LONGSHORE_VECTOR typename S::F LoadWeights(const Bf16Bits* p) { return S::LoadBf16(&p->bits); }

// t += a[r][k] * b[k][c]; vector c of step k is at b + k * b_step + c * b_vector (elements).
template <class S, int kR, int kV, class W>
LONGSHORE_VECTOR void MultiplyFloats(Tile<S, kR, kV>& t, const float* a, size_t a_stride, const W* b, size_t b_step,
                                     size_t b_vector, uint32_t k) {
  for (uint32_t i = 0; i < k; ++i, b += b_step) {
    typename S::F w[kV];
#pragma GCC unroll 8
    for (int c = 0; c < kV; ++c) w[c] = LoadWeights<S>(b + c * b_vector);
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r) {
      const typename S::F x = S::Set(a[r * a_stride + i]);
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) t.v[r][c] = S::MulAdd(x, w[c], t.v[r][c]);
    }
  }
}

// t += a[r][2i] * b[i][c].first + a[r][2i+1] * b[i][c].second over `pairs` pairs; with `half_pair`, one more whose second is
// absent. A is float or uint16_t (bf16). Strides in elements of their types.
template <class S, int kR, int kV, class A>
LONGSHORE_VECTOR void MultiplyPairs(Tile<S, kR, kV>& t, const A* a, size_t a_stride, const uint16_t* b, size_t b_step,
                                    uint32_t pairs, bool half_pair) {
  for (uint32_t i = 0; i < pairs; ++i, b += b_step) {
    typename S::Pairs w[kV];
#pragma GCC unroll 8
    for (int c = 0; c < kV; ++c) w[c] = S::LoadPairs(b + 32 * c);
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) t.v[r][c] = S::DotPairs(t.v[r][c], a + r * a_stride + 2 * i, w[c]);
  }
  if (!half_pair) return;
#pragma GCC unroll 12
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < kV; ++c)
      t.v[r][c] = S::DotPairs(t.v[r][c], a + r * a_stride + 2 * pairs, S::FirstOfPairs(S::LoadPairs(b + 32 * c)));
}

// Calls f with the row index and std::integral_constant-like tile height for all `rows`, in tiles of at most kMax.
template <int kR> struct Height { static constexpr int value = kR; };
template <int kMax, class Fn>
LONGSHORE_VECTOR void ForTiles(uint32_t rows, const Fn& f) {
  uint32_t r = 0;
  for (; r + kMax <= rows; r += kMax) f(r, Height<kMax>{});
  switch (rows - r) {
    case 1: f(r, Height<1>{}); break;
    case 2: if constexpr (kMax > 2) f(r, Height<2>{}); break;
    case 3: if constexpr (kMax > 3) f(r, Height<3>{}); break;
    case 4: if constexpr (kMax > 4) f(r, Height<4>{}); break;
    case 5: if constexpr (kMax > 5) f(r, Height<5>{}); break;
    default: break;
  }
}

}  // namespace
}  // namespace longshore::kernels
