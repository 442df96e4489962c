// Products of activations with packed weight panels.
#pragma once

#include "kernels/kernels.h"
#include "kernels/matrix_tile.inl.h"

namespace longshore::kernels {
namespace {

template <class S>
LONGSHORE_VECTOR void Finish(typename S::F sum, const float* bias, bool accumulate, float* out) {
  if (bias) sum = S::Add(sum, S::Load(bias));
  if (accumulate) sum = S::Add(S::Load(out), sum);
  S::Store(out, sum);
}

template <class S, class Scale>
LONGSHORE_VECTOR typename S::F LoadScales(const uint8_t* p) {
  if constexpr (sizeof(Scale) == 4) return S::Load(reinterpret_cast<const float*>(p));
  else return S::LoadF16(reinterpret_cast<const uint16_t*>(p));
}

// kR rows times one panel. Per group: exact integer sums, then one multiply-add by the product of both scales (and one by the
// minimum): the order over groups is the only order of rounding.
template <class S, int kBits, int kGroup, class Scale, bool kMinimum, int kR>
LONGSHORE_VECTOR void QuantTile(const QuantProduct& p, const uint8_t* group, uint32_t row, float* out, const float* bias) {
  constexpr int kSteps = kGroup / 4;
  constexpr int32_t kCentre = kBits == 8 ? S::kByteCentre : 0;
  constexpr size_t kQuantBytes = 16 * kGroup / (kBits == 4 ? 2 : 1);
  constexpr size_t kGroupBytes = kQuantBytes + 16 * sizeof(Scale) * (kMinimum ? 2 : 1);
  const QuantRows& x = *p.x;
  const size_t groups = x.k / kGroup, scales = x.k / 32;
  const int8_t* q = x.q + size_t{row} * x.k;
  const float* scale = x.scale + row * scales;
  const float* scaled_sum = x.scaled_sum + row * scales;
  const int32_t* sum = kGroup == 32 ? x.sum32 + row * groups : x.sum16 + row * groups;
  typename S::F acc[kR];
#pragma GCC unroll 12
  for (int r = 0; r < kR; ++r) acc[r] = S::Zero();
  for (size_t g = 0; g < groups; ++g, group += kGroupBytes) {
    typename S::Bytes w[kSteps];
    if constexpr (kBits == 4) {
#pragma GCC unroll 8
      for (int j = 0; j < kSteps / 2; ++j) {
        const typename S::Bytes both = S::LoadBytes(group + 64 * j);
        w[j] = S::LowNibbles(both);
        w[j + kSteps / 2] = S::HighNibbles(both);
      }
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < kSteps; ++j) w[j] = S::LoadBytes(group + 64 * j);
    }
    const typename S::F w_scale = LoadScales<S, Scale>(group + kQuantBytes);
    const size_t s = g * kGroup / 32;
#pragma GCC unroll 12
    for (int r = 0; r < kR; ++r) {
      typename S::I dot = S::SetInt(kMinimum ? 0 : (kCentre - p.format.offset) * sum[r * groups + g]);
      const int8_t* xr = q + r * size_t{x.k} + g * kGroup;
#pragma GCC unroll 8
      for (int j = 0; j < kSteps; ++j) dot = S::template DotBytes<kBits>(dot, w[j], xr + 4 * j);
      acc[r] = S::MulAdd(S::ToFloat(dot), S::Mul(w_scale, S::Set(scale[r * scales + s])), acc[r]);
      if constexpr (kMinimum)
        acc[r] = S::MulAdd(LoadScales<S, Scale>(group + kQuantBytes + 16 * sizeof(Scale)), S::Set(scaled_sum[r * scales + s]), acc[r]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kR; ++r) Finish<S>(acc[r], bias, p.accumulate, out + r * p.out_stride);
}

template <class S, int kBits, int kGroup, class Scale, bool kMinimum>
void QuantPanels(const QuantProduct& p) {
  // A row tile's activations stay in the first-level cache while the panels stream past it.
  uint32_t r = 0;
  const auto run = [&]<int kR>(Height<kR>) __attribute__((always_inline)) {
    for (uint32_t n = 0; n < p.panel_count; ++n)
      QuantTile<S, kBits, kGroup, Scale, kMinimum, kR>(p, p.panels + n * p.panel_bytes, p.row + r, p.out + r * p.out_stride + 16 * n,
                                                       p.bias ? p.bias + 16 * n : nullptr);
    r += kR;
  };
  constexpr int kBig = S::kQuantRows;
  while (p.rows - r >= kBig) run(Height<kBig>{});
  if constexpr (kBig > 4) while (p.rows - r >= 4) run(Height<4>{});
  if constexpr (kBig > 1) while (p.rows - r >= 1) run(Height<1>{});
}

template <class S>
void MultiplyQuantized(const QuantProduct& p) {
  const QuantFormat& f = p.format;
  if (f.group == 16) return QuantPanels<S, 7, 16, float, false>(p);
  if (f.scale_bytes == 4) {
    if (f.bits == 4) return QuantPanels<S, 4, 32, float, true>(p);
    return QuantPanels<S, 7, 32, float, true>(p);
  }
  if (f.bits == 4) {
    if (f.has_minimum) return QuantPanels<S, 4, 32, uint16_t, true>(p);
    return QuantPanels<S, 4, 32, uint16_t, false>(p);
  }
  if (f.bits == 8) return QuantPanels<S, 8, 32, uint16_t, false>(p);
  if (f.has_minimum) return QuantPanels<S, 7, 32, uint16_t, true>(p);
  return QuantPanels<S, 7, 32, uint16_t, false>(p);
}

template <class S, class W>
void FloatPanels(const FloatProduct& p) {
  const size_t panel = p.panel_bytes / sizeof(W);
  const auto run = [&]<int kV>(uint32_t n, Height<kV>) __attribute__((always_inline)) {
    const W* w = static_cast<const W*>(p.panels) + n * panel;
    ForTiles<S::kTileRows>(p.rows, [&]<int kR>(uint32_t r, Height<kR>) __attribute__((always_inline)) {
      Tile<S, kR, kV> t;
      Tile<S, kR, kV>::Zero(t);
      MultiplyFloats(t, p.x + r * p.x_stride, p.x_stride, w, 16, panel, p.k);
      for (int i = 0; i < kR; ++i)
        for (int c = 0; c < kV; ++c)
          Finish<S>(t.v[i][c], p.bias ? p.bias + 16 * (n + c) : nullptr, p.accumulate,
                    p.out + (r + i) * p.out_stride + 16 * (n + c));
    });
  };
  uint32_t n = 0;
  for (; n + S::kTileVectors <= p.panel_count; n += S::kTileVectors) run(n, Height<S::kTileVectors>{});
  if constexpr (S::kTileVectors > 1)
    for (; n < p.panel_count; ++n) run(n, Height<1>{});
}

template <class S>
void MultiplyFloat(const FloatProduct& p) {
  switch (p.type) {
    case FloatType::kF32: return FloatPanels<S, float>(p);
    case FloatType::kF16: return FloatPanels<S, F16Bits>(p);
    case FloatType::kBf16: return FloatPanels<S, Bf16Bits>(p);
  }
}

}  // namespace
}  // namespace longshore::kernels
