// A hash of what the kernels of this build compute on this machine, for a fixed input.
//
// Results are meant to depend on the instruction set and the numerics version only, but the products of bf16 pairs are one
// instruction whose inner rounding each maker of CPUs decides, and a compiler might break a promise. Engines that name equal numerics
// exchange KV blocks bit for bit, so a machine whose bits differ must say so in its name.
#pragma once

#include "kernels/attention.inl.h"
#include "kernels/elementwise.inl.h"
#include "kernels/product.inl.h"

namespace longshore::kernels {
namespace {

class BitHash {
 public:
  void Add(const float* x, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) {
      uint32_t u;
      __builtin_memcpy(&u, x + i, 4);
      hash_ = (hash_ ^ u) * 16777619u;
      hash_ ^= hash_ >> 15;
    }
  }
  uint32_t value() const { return hash_; }

 private:
  uint32_t hash_ = 2166136261u;
};

// Values of very different size, so that every rounding shows.
class FixedInput {
 public:
  float Next() {
    state_ = state_ * 1664525u + 1013904223u;
    const float x = static_cast<float>(static_cast<int32_t>(state_) >> 8) * 0x1p-20f;
    return state_ & 64u ? x : x * 0.03f;
  }
  void Fill(float* x, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) x[i] = Next();
  }

 private:
  uint32_t state_ = 12345;
};

template <class S>
uint32_t Fingerprint() {
  constexpr uint32_t kInputs = 64, kRows = 3, kHeadDim = 32, kKeys = 100;
  FixedInput input;
  BitHash hash;
  float x[kRows * kInputs], y[kRows * kInputs];
  input.Fill(x, kRows * kInputs);
  SwiGlu<S>(x, x + kInputs, kInputs, y);
  hash.Add(y, kInputs);
  RmsNorm<S>(x, x + kInputs, kInputs, 1e-5f, y);
  hash.Add(y, kInputs);

  int8_t q[kRows * kInputs];
  float scale[kRows * kInputs / 32], scaled_sum[kRows * kInputs / 32];
  int32_t sum32[kRows * kInputs / 32], sum16[kRows * kInputs / 16];
  const QuantRows rows = {q, scale, sum32, sum16, scaled_sum, kInputs};
  for (uint32_t r = 0; r < kRows; ++r) Quantize32<S>(x + r * kInputs, r, &rows);
  const QuantFormat format = {4, 32, 4, true, 0};
  alignas(64) uint8_t panel[2 * (256 + 128)];
  for (uint32_t i = 0; i < sizeof panel; ++i) panel[i] = static_cast<uint8_t>(i * 37);
  for (uint32_t g = 0; g < 2; ++g) {
    float scales[32];
    input.Fill(scales, 32);
    __builtin_memcpy(panel + g * 384 + 256, scales, sizeof scales);
  }
  MultiplyQuantized<S>({format, panel, sizeof panel, 1, &rows, 0, kRows, nullptr, y, 16, false});
  hash.Add(y, kRows * 16);
  alignas(64) static thread_local float keys[kHeadDim * kKeyTile], values[kKeyTile * kHeadDim];
  float scores[kRows * kKeyTile], probabilities[kRows * kKeyTile], m[kRows], l[kRows], o[kRows * kHeadDim];
  uint16_t q_bf16[kRows * kHeadDim];
  ToBf16<S>(x, kRows * kHeadDim, q_bf16);
  const void *k_tile = keys, *v_tile = values;
  const Attend attend = {x, q_bf16, kRows, 1, kKeys - kRows, 0, 1, &k_tile, &v_tile, kHeadDim, kHeadDim, scores, probabilities, m, l, o, 0};
  input.Fill(keys, kHeadDim * kKeyTile);
  input.Fill(values, kHeadDim * kKeyTile);
  AttendSplit<S, KvKind::kF32>(attend);
  hash.Add(o, kRows * kHeadDim);
  hash.Add(l, kRows);
  uint16_t* bf16[] = {reinterpret_cast<uint16_t*>(keys), reinterpret_cast<uint16_t*>(values)};
  for (uint16_t* tile : bf16)
    for (uint32_t i = 0; i < kHeadDim * kKeyTile; ++i) tile[i] = RoundToBf16(input.Next());
  AttendSplit<S, KvKind::kBf16>(attend);
  hash.Add(o, kRows * kHeadDim);
  hash.Add(l, kRows);
  return hash.value();
}

}  // namespace
}  // namespace longshore::kernels
