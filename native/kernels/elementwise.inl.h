// Row-wise kernels: exponentials, RMS norm, quantization of activations, gating, rotation.
#pragma once

#include "kernels/kernels.h"

namespace longshore::kernels {
namespace {

// 2^f on [-1/2, 1/2] by the polynomials of least relative error: degree 5 within 1.5e-7 (exactly 1 at 0), degree 3 within 7.5e-5
// for results that are rounded to bf16 (2^-9) anyway.
template <class S, int kDegree>
LONGSHORE_VECTOR typename S::F Exp2Fraction(typename S::F f) {
  if constexpr (kDegree == 3) {
    auto y = S::MulAdd(S::Set(0.05517166909f), f, S::Set(0.2426111222f));
    y = S::MulAdd(y, f, S::Set(0.6932609855f));
    return S::MulAdd(y, f, S::Set(0.9999280735f));
  } else {
    auto y = S::MulAdd(S::Set(0.001327647217f), f, S::Set(0.009675541331f));
    y = S::MulAdd(y, f, S::Set(0.05550713273f));
    y = S::MulAdd(y, f, S::Set(0.2402211972f));
    y = S::MulAdd(y, f, S::Set(0.6931469671f));
    return S::MulAdd(y, f, S::Set(1.0f));
  }
}

// 2^x; exactly 0 for -inf and for anything below the smallest float.
template <class S, int kDegree = 5>
LONGSHORE_VECTOR typename S::F Exp2(typename S::F x) {
  if constexpr (S::kScaleByPower) {
    return S::ScaleByPower(Exp2Fraction<S, kDegree>(S::Fraction(x)), S::Round(x));
  } else {
    x = S::Min(S::Max(x, S::Set(-127.f)), S::Set(127.f));
    const auto n = S::Round(x);
    return S::Mul(Exp2Fraction<S, kDegree>(S::Sub(x, n)), S::PowerOfTwo(n));
  }
}

template <class S>
void RmsNorm(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  auto sum = S::Zero();
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto v = S::Load(x + i);
    sum = S::MulAdd(v, v, sum);
  }
  float total = S::SumLanes(sum);
  for (uint32_t j = i; j < n; ++j) total += x[j] * x[j];
  const float scale = 1.f / __builtin_sqrtf(total / static_cast<float>(n) + eps);
  const auto s = S::Set(scale);
  for (i = 0; i + 16 <= n; i += 16) S::Store(out + i, S::Mul(S::Mul(S::Load(x + i), s), S::Load(weight + i)));
  for (; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

// Half-precision rounding (to nearest even) of a non-negative scale; above the largest half it stays as it is.
static inline float RoundScaleToHalf(float x) {
  if (!(x < 65504.f)) return x;
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  if (u < (113u << 23)) {  // below 2^-14 halves are multiples of 2^-24
    const float magic = 0.5f;  // 0.5 has a last place of 2^-24
    return (x + magic) - magic;
  }
  u += 0xfffu + ((u >> 13) & 1u);
  u &= ~0x1fffu;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

template <class S>
LONGSHORE_VECTOR void StoreQuants(const float* x, float inverse, int8_t* q, int32_t* sum) {
  const auto i = S::ToInt(S::Mul(S::Load(x), S::Set(inverse)));
  S::StoreInt8(q, i);
  *sum = S::SumLanes(i);
}

template <class S>
void Quantize32(const float* x, uint32_t row, const QuantRows* out) {
  const uint32_t groups = out->k / 32;
  for (uint32_t g = 0; g < groups; ++g, x += 32) {
    const size_t at = size_t{row} * groups + g;
    const float most = S::MaxLanes(S::Max(S::Abs(S::Load(x)), S::Abs(S::Load(x + 16))));
    const float inverse = most > 0.f ? 127.f / most : 0.f;
    int8_t* q = out->q + at * 32;
    StoreQuants<S>(x, inverse, q, out->sum16 + 2 * at);
    StoreQuants<S>(x + 16, inverse, q + 16, out->sum16 + 2 * at + 1);
    out->sum32[at] = out->sum16[2 * at] + out->sum16[2 * at + 1];
    out->scale[at] = RoundScaleToHalf(most / 127.f);
    out->scaled_sum[at] = out->scale[at] * static_cast<float>(out->sum32[at]);
  }
}

template <class S>
void Quantize256(const float* x, uint32_t row, const QuantRows* out) {
  const uint32_t groups = out->k / 32;
  for (uint32_t first = 0; first < groups; first += 8, x += 256) {
    auto best = S::Zero();
    for (int i = 0; i < 256; i += 16) best = S::Max(S::Abs(S::Load(x + i)), best);
    const float most = S::MaxLanes(best);
    // ggml's sign: the element of largest magnitude becomes -127 (the first one, should two tie).
    float extreme = 0.f;
    for (int i = 0; i < 256 && extreme == 0.f; ++i)
      if (x[i] == most || x[i] == -most) extreme = x[i];
    const float inverse = extreme != 0.f ? -127.f / extreme : 0.f;
    const float scale = extreme != 0.f ? 1.f / inverse : 0.f;
    for (uint32_t g = 0; g < 8; ++g) {
      const size_t at = size_t{row} * groups + first + g;
      int8_t* q = out->q + at * 32;
      StoreQuants<S>(x + 32 * g, inverse, q, out->sum16 + 2 * at);
      StoreQuants<S>(x + 32 * g + 16, inverse, q + 16, out->sum16 + 2 * at + 1);
      out->sum32[at] = out->sum16[2 * at] + out->sum16[2 * at + 1];
      out->scale[at] = scale;
      out->scaled_sum[at] = scale * static_cast<float>(out->sum32[at]);
    }
  }
}

template <class S>
void SwiGlu(const float* gate, const float* up, uint32_t n, float* out) {
  const auto one = S::Set(1.f), minus_log2e = S::Set(-1.44269504088896341f);
  for (uint32_t i = 0; i < n; i += 16) {
    const auto g = S::Load(gate + i);
    const auto sigmoid = S::Div(g, S::Add(one, Exp2<S>(S::Mul(g, minus_log2e))));
    S::Store(out + i, S::Mul(sigmoid, S::Load(up + i)));
  }
}

// gelu(g) = g/2 (1 + tanh(z)) = g / (1 + e^-2z), z = sqrt(2/pi) (g + 0.044715 g^3).
template <class S>
void GeGlu(const float* gate, const float* up, uint32_t n, float* out) {
  constexpr double kScale = -2 * 0.79788456080286535588 * 1.44269504088896340736;  // -2 sqrt(2/pi) log2(e)
  const auto one = S::Set(1.f), linear = S::Set(static_cast<float>(kScale)), cubic = S::Set(static_cast<float>(kScale * 0.044715));
  for (uint32_t i = 0; i < n; i += 16) {
    const auto g = S::Load(gate + i);
    const auto z = S::Mul(g, S::MulAdd(S::Mul(g, g), cubic, linear));
    S::Store(out + i, S::Mul(S::Div(g, S::Add(one, Exp2<S>(z))), S::Load(up + i)));
  }
}

template <class S>
void Rotate(float* x, const float* cos, const float* sin, uint32_t half) {
  uint32_t i = 0;
  for (; i + 16 <= half; i += 16) {
    const auto a = S::Load(x + i), b = S::Load(x + half + i), c = S::Load(cos + i), s = S::Load(sin + i);
    S::Store(x + i, S::Sub(S::Mul(a, c), S::Mul(b, s)));
    S::Store(x + half + i, S::Add(S::Mul(b, c), S::Mul(a, s)));
  }
  for (; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * cos[i] - b * sin[i];
    x[half + i] = b * cos[i] + a * sin[i];
  }
}

static inline uint16_t RoundToBf16(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 64u);  // a NaN stays one
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

template <class S>
void ToBf16(const float* x, uint32_t n, uint16_t* out) {
  if constexpr (S::kBf16Dot) {
    for (uint32_t i = 0; i < n; i += 16) S::StoreBf16(out + i, S::Load(x + i));
  } else {
    for (uint32_t i = 0; i < n; ++i) out[i] = RoundToBf16(x[i]);
  }
}

}  // namespace
}  // namespace longshore::kernels
