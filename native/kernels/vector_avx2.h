// Sixteen f32 / i32 lanes in two AVX2 registers (AVX2, FMA, F16C). Include only from *_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define LONGSHORE_VECTOR static inline __attribute__((always_inline))

namespace longshore::kernels {
namespace {

struct Avx2 {
  static constexpr const char* kName = "avx2";
  static constexpr uint32_t kFingerprint = 0xdc142a18;
  static constexpr uint64_t kTaskProducts = 32u << 20;
  static constexpr bool kBf16Dot = false;
  static constexpr int32_t kByteCentre = 128;
  static constexpr bool kScaleByPower = false;
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 1;
  static constexpr int kQuantRows = 2;

  struct F { __m256 lo, hi; };
  struct I { __m256i lo, hi; };

  LONGSHORE_VECTOR F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  LONGSHORE_VECTOR F Set(float x) { const __m256 v = _mm256_set1_ps(x); return {v, v}; }
  LONGSHORE_VECTOR F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  LONGSHORE_VECTOR void Store(float* p, F x) { _mm256_storeu_ps(p, x.lo); _mm256_storeu_ps(p + 8, x.hi); }
  LONGSHORE_VECTOR F Add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  LONGSHORE_VECTOR F Abs(F a) {
    const __m256 sign = _mm256_set1_ps(-0.f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  LONGSHORE_VECTOR F MulAdd(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  LONGSHORE_VECTOR F Round(F a) { return {_mm256_round_ps(a.lo, 8), _mm256_round_ps(a.hi, 8)}; }
  LONGSHORE_VECTOR F Keep(F x, int n, F fill) {
    const __m256i count = _mm256_set1_epi32(n);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i lo = _mm256_cmpgt_epi32(count, lane);
    const __m256i hi = _mm256_cmpgt_epi32(count, _mm256_add_epi32(lane, _mm256_set1_epi32(8)));
    return {_mm256_blendv_ps(fill.lo, x.lo, _mm256_castsi256_ps(lo)),
            _mm256_blendv_ps(fill.hi, x.hi, _mm256_castsi256_ps(hi))};
  }
  // 2^n for whole n in [-127, 127]; exactly 0 for -127.
  LONGSHORE_VECTOR __m256 PowerOfTwo(__m256 n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
  }
  LONGSHORE_VECTOR F PowerOfTwo(F n) { return {PowerOfTwo(n.lo), PowerOfTwo(n.hi)}; }
  LONGSHORE_VECTOR __m256 Widen(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
  LONGSHORE_VECTOR __m128i Load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  LONGSHORE_VECTOR __m256i Load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  LONGSHORE_VECTOR F LoadBf16(const uint16_t* p) { return {Widen(Load128(p)), Widen(Load128(p + 8))}; }
  LONGSHORE_VECTOR F LoadF16(const uint16_t* p) { return {_mm256_cvtph_ps(Load128(p)), _mm256_cvtph_ps(Load128(p + 8))}; }
  LONGSHORE_VECTOR float SumLanes(F x) {
    const __m256 a = _mm256_add_ps(x.lo, x.hi);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }
  LONGSHORE_VECTOR float MaxLanes(F x) {
    const __m256 a = _mm256_max_ps(x.lo, x.hi);
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
  }

  LONGSHORE_VECTOR I SetInt(int32_t x) { const __m256i v = _mm256_set1_epi32(x); return {v, v}; }
  LONGSHORE_VECTOR F ToFloat(I x) { return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)}; }
  LONGSHORE_VECTOR I ToInt(F x) { return {_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)}; }
  LONGSHORE_VECTOR int32_t SumLanes(I x) {
    const __m256i a = _mm256_add_epi32(x.lo, x.hi);
    const __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i c = _mm_add_epi32(b, _mm_unpackhi_epi64(b, b));
    return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 1)));
  }
  LONGSHORE_VECTOR void StoreInt8(int8_t* p, I x) {
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo, x.hi), 0xd8);
    const __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), b);
  }

  struct Bytes { __m256i lo, hi; };
  LONGSHORE_VECTOR Bytes LoadBytes(const uint8_t* p) { return {Load256(p), Load256(p + 32)}; }
  LONGSHORE_VECTOR Bytes LowNibbles(Bytes x) {
    const __m256i m = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.lo, m), _mm256_and_si256(x.hi, m)};
  }
  LONGSHORE_VECTOR Bytes HighNibbles(Bytes x) {
    const __m256i m = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi16(x.lo, 4), m), _mm256_and_si256(_mm256_srli_epi16(x.hi, 4), m)};
  }
  template <int kBits>
  LONGSHORE_VECTOR __m256i DotBytes(__m256i acc, __m256i w, __m256i x) {
    const __m256i ones = _mm256_set1_epi16(1);
    if constexpr (kBits < 8) {
      return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    } else {
      // maddubs would saturate with unsigned bytes above 127: centre them, let |w| be the unsigned factor and move its
      // sign to x (which is never -128, so that this is exact).
      const __m256i centred = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(centred), _mm256_sign_epi8(x, centred));
      return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
    }
  }
  template <int kBits>
  LONGSHORE_VECTOR I DotBytes(I acc, Bytes w, const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    const __m256i x = _mm256_set1_epi32(four);
    return {DotBytes<kBits>(acc.lo, w.lo, x), DotBytes<kBits>(acc.hi, w.hi, x)};
  }

  struct Pairs { __m256i lo, hi; };
  LONGSHORE_VECTOR Pairs LoadPairs(const uint16_t* p) { return {Load256(p), Load256(p + 16)}; }
  LONGSHORE_VECTOR Pairs FirstOfPairs(Pairs x) {
    const __m256i m = _mm256_set1_epi32(0xffff);
    return {_mm256_and_si256(x.lo, m), _mm256_and_si256(x.hi, m)};
  }
  LONGSHORE_VECTOR __m256 DotPairs(__m256 acc, __m256 a0, __m256 a1, __m256i b) {
    const __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(b, 16));
    const __m256 second = _mm256_castsi256_ps(_mm256_and_si256(b, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
    return _mm256_fmadd_ps(a1, second, _mm256_fmadd_ps(a0, first, acc));
  }
  LONGSHORE_VECTOR F DotPairs(F acc, const float* a, Pairs b) {
    const __m256 a0 = _mm256_set1_ps(a[0]), a1 = _mm256_set1_ps(a[1]);
    return {DotPairs(acc.lo, a0, a1, b.lo), DotPairs(acc.hi, a0, a1, b.hi)};
  }

  LONGSHORE_VECTOR F First(Pairs x) { return {_mm256_castsi256_ps(_mm256_slli_epi32(x.lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(x.hi, 16))}; }
  LONGSHORE_VECTOR F Second(Pairs x) {
    const __m256i m = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    return {_mm256_castsi256_ps(_mm256_and_si256(x.lo, m)), _mm256_castsi256_ps(_mm256_and_si256(x.hi, m))};
  }
  LONGSHORE_VECTOR uint32_t AtLeast(F a, F b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ))) |
           static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ))) << 8;
  }
  LONGSHORE_VECTOR F LoadU16(const uint16_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(Load128(p))), _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(Load128(p + 8)))};
  }

  template <int kQueries>
  LONGSHORE_VECTOR void LookupSums(const uint8_t* codes, const uint8_t* const* tables, uint32_t groups, uint16_t (*sums)[128]) {
    const __m256i nibble = _mm256_set1_epi8(15), byte = _mm256_set1_epi16(255);
    for (int half = 0; half < 2; ++half) {
      __m256i sum[kQueries][4] = {};
      for (uint32_t g = 0; g < groups; g += 4) {
        __m256i low[kQueries], high[kQueries];
        for (uint32_t i = 0; i < 4; ++i) {
          const __m256i x = Load256(codes + (g + i) * 64 + 32 * half);
          const __m256i l = _mm256_and_si256(x, nibble), h = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
          for (int q = 0; q < kQueries; ++q) {
            const __m256i table = _mm256_broadcastsi128_si256(Load128(tables[q] + (g + i) * 16));
            const __m256i a = _mm256_shuffle_epi8(table, l), b = _mm256_shuffle_epi8(table, h);
            low[q] = i == 0 ? a : _mm256_add_epi8(low[q], a);
            high[q] = i == 0 ? b : _mm256_add_epi8(high[q], b);
          }
        }
        for (int q = 0; q < kQueries; ++q) {
          sum[q][0] = _mm256_add_epi16(sum[q][0], _mm256_and_si256(low[q], byte));
          sum[q][1] = _mm256_add_epi16(sum[q][1], _mm256_srli_epi16(low[q], 8));
          sum[q][2] = _mm256_add_epi16(sum[q][2], _mm256_and_si256(high[q], byte));
          sum[q][3] = _mm256_add_epi16(sum[q][3], _mm256_srli_epi16(high[q], 8));
        }
      }
      for (int q = 0; q < kQueries; ++q)
        for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums[q] + 32 * i + 16 * half), sum[q][i]);
    }
  }
};

}  // namespace
}  // namespace longshore::kernels
