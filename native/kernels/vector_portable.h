// Sixteen f32 / i32 lanes in plain C++: four 16-byte compiler vectors, which every target lowers to what it has (SSE2, NEON,
// scalars). Multiply-adds are not fused, so the results are the same on every machine.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define LONGSHORE_VECTOR static inline __attribute__((always_inline))

namespace longshore::kernels {
namespace {

struct Portable {
  static constexpr const char* kName = "portable";
  static constexpr uint32_t kFingerprint = 0xc6d35ff1;
  static constexpr uint64_t kTaskProducts = 8u << 20;
  static constexpr bool kBf16Dot = false;
  static constexpr int32_t kByteCentre = 0;
  static constexpr bool kScaleByPower = false;
  static constexpr int kTileRows = 3;
  static constexpr int kTileVectors = 1;
  static constexpr int kQuantRows = 1;

  typedef float F4 __attribute__((vector_size(16)));
  typedef int32_t I4 __attribute__((vector_size(16)));
  typedef uint32_t U4 __attribute__((vector_size(16)));
  typedef int16_t S8 __attribute__((vector_size(16)));
  typedef uint16_t H8 __attribute__((vector_size(16)));
  struct F { F4 v[4]; };
  struct I { I4 v[4]; };

  LONGSHORE_VECTOR F Set(float x) {
    const F4 f = {x, x, x, x};
    return {{f, f, f, f}};
  }
  LONGSHORE_VECTOR F Zero() { return Set(0.f); }
  LONGSHORE_VECTOR F Load(const float* p) {
    F r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  LONGSHORE_VECTOR void Store(float* p, F x) { std::memcpy(p, &x, sizeof x); }
  LONGSHORE_VECTOR F Add(F a, F b) { return {{a.v[0] + b.v[0], a.v[1] + b.v[1], a.v[2] + b.v[2], a.v[3] + b.v[3]}}; }
  LONGSHORE_VECTOR F Sub(F a, F b) { return {{a.v[0] - b.v[0], a.v[1] - b.v[1], a.v[2] - b.v[2], a.v[3] - b.v[3]}}; }
  LONGSHORE_VECTOR F Mul(F a, F b) { return {{a.v[0] * b.v[0], a.v[1] * b.v[1], a.v[2] * b.v[2], a.v[3] * b.v[3]}}; }
  LONGSHORE_VECTOR F Div(F a, F b) { return {{a.v[0] / b.v[0], a.v[1] / b.v[1], a.v[2] / b.v[2], a.v[3] / b.v[3]}}; }
  LONGSHORE_VECTOR F MulAdd(F a, F b, F c) { return Add(Mul(a, b), c); }
  LONGSHORE_VECTOR F4 Choose(I4 mask, F4 yes, F4 no) {
    return reinterpret_cast<F4>((mask & reinterpret_cast<I4>(yes)) | (~mask & reinterpret_cast<I4>(no)));
  }
  LONGSHORE_VECTOR F Max(F a, F b) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = Choose(a.v[i] > b.v[i], a.v[i], b.v[i]);
    return r;
  }
  LONGSHORE_VECTOR F Min(F a, F b) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = Choose(a.v[i] < b.v[i], a.v[i], b.v[i]);
    return r;
  }
  LONGSHORE_VECTOR F Abs(F a) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = reinterpret_cast<F4>(reinterpret_cast<I4>(a.v[i]) & 0x7fffffff);
    return r;
  }
  // Half to even for |a| < 2^22, by the carry out of the mantissa.
  LONGSHORE_VECTOR F Round(F a) {
    const F magic = Set(12582912.f);
    return Sub(Add(a, magic), magic);
  }
  LONGSHORE_VECTOR F Keep(F x, int n, F fill) {
    F r;
    for (int i = 0; i < 4; ++i) {
      const I4 lane = {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3};
      r.v[i] = Choose(lane < n, x.v[i], fill.v[i]);
    }
    return r;
  }
  // 2^n for whole n in [-127, 127]; exactly 0 for -127.
  LONGSHORE_VECTOR F PowerOfTwo(F n) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = reinterpret_cast<F4>((__builtin_convertvector(n.v[i], I4) + 127) << 23);
    return r;
  }
  LONGSHORE_VECTOR F LoadBf16(const uint16_t* p) {
    F r;
    for (int i = 0; i < 4; ++i) {
      const U4 u = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
      r.v[i] = reinterpret_cast<F4>(u << 16);
    }
    return r;
  }
  LONGSHORE_VECTOR F4 HalfToFloat(U4 h) {
    const U4 sign = (h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    // Normal halves: move exponent and mantissa, rebias. Subnormals: the integer times 2^-24. Inf and NaN: exponent 255.
    const U4 normal = (magnitude << 13) + (112u << 23);
    const F4 small = __builtin_convertvector(reinterpret_cast<I4>(magnitude), F4) * 5.9604644775390625e-8f;
    const U4 special = normal + (112u << 23);
    const U4 is_small = reinterpret_cast<U4>(magnitude < 0x400u), is_special = reinterpret_cast<U4>(magnitude > 0x7bffu);
    const U4 bits = (is_small & reinterpret_cast<U4>(small)) | (~is_small & ((is_special & special) | (~is_special & normal)));
    return reinterpret_cast<F4>(bits | sign);
  }
  LONGSHORE_VECTOR F LoadF16(const uint16_t* p) {
    F r;
    for (int i = 0; i < 4; ++i) {
      const U4 h = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
      r.v[i] = HalfToFloat(h);
    }
    return r;
  }
  LONGSHORE_VECTOR float SumLanes(F x) {
    const F4 a = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (a[0] + a[2]) + (a[1] + a[3]);
  }
  LONGSHORE_VECTOR float MaxLanes(F x) {
    float m = x.v[0][0];
    for (int i = 0; i < 16; ++i) m = x.v[i / 4][i % 4] > m ? x.v[i / 4][i % 4] : m;
    return m;
  }

  LONGSHORE_VECTOR I SetInt(int32_t x) {
    const I4 i = {x, x, x, x};
    return {{i, i, i, i}};
  }
  LONGSHORE_VECTOR F ToFloat(I x) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = __builtin_convertvector(x.v[i], F4);
    return r;
  }
  LONGSHORE_VECTOR I ToInt(F x) {
    const F rounded = Round(x);
    I r;
    for (int i = 0; i < 4; ++i) r.v[i] = __builtin_convertvector(rounded.v[i], I4);
    return r;
  }
  LONGSHORE_VECTOR int32_t SumLanes(I x) {
    const I4 a = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (a[0] + a[2]) + (a[1] + a[3]);
  }
  LONGSHORE_VECTOR void StoreInt8(int8_t* p, I x) {
    for (int i = 0; i < 16; ++i) {
      const int32_t q = x.v[i / 4][i % 4];
      p[i] = static_cast<int8_t>(q > 127 ? 127 : q < -128 ? -128 : q);
    }
  }

  struct Bytes { U4 v[4]; };
  LONGSHORE_VECTOR Bytes LoadBytes(const uint8_t* p) {
    Bytes r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  LONGSHORE_VECTOR Bytes LowNibbles(Bytes x) {
    return {{x.v[0] & 0x0f0f0f0fu, x.v[1] & 0x0f0f0f0fu, x.v[2] & 0x0f0f0f0fu, x.v[3] & 0x0f0f0f0fu}};
  }
  LONGSHORE_VECTOR Bytes HighNibbles(Bytes x) {
    return LowNibbles({{x.v[0] >> 4, x.v[1] >> 4, x.v[2] >> 4, x.v[3] >> 4}});
  }
  // Products of unsigned and signed bytes fit 16 bits (255 * -128), their sum of two does not: widened before they are added.
  template <int kBits>
  LONGSHORE_VECTOR I DotBytes(I acc, Bytes w, const int8_t* p) {
    int16_t q[8];
    for (int i = 0; i < 8; ++i) q[i] = p[i % 2 * 2];
    S8 even, odd;
    std::memcpy(&even, q, 16);
    for (int i = 0; i < 8; ++i) q[i] = p[i % 2 * 2 + 1];
    std::memcpy(&odd, q, 16);
    for (int i = 0; i < 4; ++i) {
      const H8 bytes = reinterpret_cast<H8>(w.v[i]);
      const I4 e = reinterpret_cast<I4>(reinterpret_cast<S8>(bytes & 255) * even);
      const I4 o = reinterpret_cast<I4>(reinterpret_cast<S8>(bytes >> 8) * odd);
      const I4 low_e = reinterpret_cast<I4>(reinterpret_cast<U4>(e) << 16) >> 16;
      const I4 low_o = reinterpret_cast<I4>(reinterpret_cast<U4>(o) << 16) >> 16;
      acc.v[i] += (low_e + (e >> 16)) + (low_o + (o >> 16));
    }
    return acc;
  }

  struct Pairs { U4 v[4]; };
  LONGSHORE_VECTOR Pairs LoadPairs(const uint16_t* p) {
    Pairs r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  // The first of a pair has the lower address: this code is for little-endian machines, as the stored formats are.
  LONGSHORE_VECTOR Pairs FirstOfPairs(Pairs x) {
    return {{x.v[0] & 0xffffu, x.v[1] & 0xffffu, x.v[2] & 0xffffu, x.v[3] & 0xffffu}};
  }
  LONGSHORE_VECTOR F DotPairs(F acc, const float* a, Pairs b) {
    F r;
    for (int i = 0; i < 4; ++i) {
      const F4 first = reinterpret_cast<F4>(b.v[i] << 16), second = reinterpret_cast<F4>(b.v[i] & 0xffff0000u);
      r.v[i] = (acc.v[i] + first * a[0]) + second * a[1];
    }
    return r;
  }

  LONGSHORE_VECTOR F First(Pairs x) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = reinterpret_cast<F4>(x.v[i] << 16);
    return r;
  }
  LONGSHORE_VECTOR F Second(Pairs x) {
    F r;
    for (int i = 0; i < 4; ++i) r.v[i] = reinterpret_cast<F4>(x.v[i] & 0xffff0000u);
    return r;
  }
  LONGSHORE_VECTOR uint32_t AtLeast(F a, F b) {
    uint32_t mask = 0;
    for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(a.v[i / 4][i % 4] >= b.v[i / 4][i % 4]) << i;
    return mask;
  }
  LONGSHORE_VECTOR F LoadU16(const uint16_t* p) {
    F r;
    for (int i = 0; i < 4; ++i) {
      const I4 x = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
      r.v[i] = __builtin_convertvector(x, F4);
    }
    return r;
  }

  template <int kQueries>
  LONGSHORE_VECTOR void LookupSums(const uint8_t* codes, const uint8_t* const* tables, uint32_t groups, uint16_t (*sums)[128]) {
    for (int q = 0; q < kQueries; ++q) {
      std::memset(sums[q], 0, sizeof sums[q]);
      for (uint32_t g = 0; g < groups; ++g)
        for (int i = 0; i < 64; ++i) {
          const uint8_t byte = codes[g * 64 + i];
          uint16_t* key = sums[q] + i / 2 + i % 2 * 32;
          key[0] = static_cast<uint16_t>(key[0] + tables[q][g * 16 + (byte & 15)]);
          key[64] = static_cast<uint16_t>(key[64] + tables[q][g * 16 + (byte >> 4)]);
        }
    }
  }
};

}  // namespace
}  // namespace longshore::kernels
