// Sixteen f32 / i32 lanes in one AVX-512 register (F, BW, DQ, VL, VNNI, BF16). Include only from *_avx512.cc.
#pragma once

// GCC 12's own AVX-512 header reads `undefined` values on purpose and warns about them wherever it is inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include <cstdint>

#define LONGSHORE_VECTOR static inline __attribute__((always_inline))

namespace longshore::kernels {
namespace {

struct Avx512 {
  static constexpr const char* kName = "avx512";
  static constexpr uint32_t kFingerprint = 0x7342d3bc;
  static constexpr uint64_t kTaskProducts = 64u << 20;
  static constexpr bool kBf16Dot = true;   // has an instruction that multiplies bf16 pairs
  static constexpr int32_t kByteCentre = 0;   // DotBytes<8> sums (w - kByteCentre) x
  static constexpr bool kScaleByPower = true;  // has the instructions that Exp2 wants
  static constexpr int kTileRows = 6;      // register tile of float products: rows x vectors of 16
  static constexpr int kTileVectors = 4;
  static constexpr int kQuantRows = 12;    // register tile of quantized products: rows x one panel

  using F = __m512;
  using I = __m512i;

  LONGSHORE_VECTOR F Zero() { return _mm512_setzero_ps(); }
  LONGSHORE_VECTOR F Set(float x) { return _mm512_set1_ps(x); }
  LONGSHORE_VECTOR F Load(const float* p) { return _mm512_loadu_ps(p); }
  LONGSHORE_VECTOR void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
  LONGSHORE_VECTOR F Add(F a, F b) { return _mm512_add_ps(a, b); }
  LONGSHORE_VECTOR F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  LONGSHORE_VECTOR F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  LONGSHORE_VECTOR F Div(F a, F b) { return _mm512_div_ps(a, b); }
  LONGSHORE_VECTOR F Max(F a, F b) { return _mm512_max_ps(a, b); }
  LONGSHORE_VECTOR F Min(F a, F b) { return _mm512_min_ps(a, b); }
  LONGSHORE_VECTOR F Abs(F a) { return _mm512_abs_ps(a); }
  LONGSHORE_VECTOR F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  LONGSHORE_VECTOR F Round(F a) { return _mm512_roundscale_ps(a, 8); }
  // Lanes [0, n) of x, the rest `fill`; 0 <= n <= 16.
  LONGSHORE_VECTOR F Keep(F x, int n, F fill) {
    return _mm512_mask_mov_ps(fill, static_cast<__mmask16>((1u << n) - 1u), x);
  }
  // x - Round(x), 0 for infinities.
  LONGSHORE_VECTOR F Fraction(F x) { return _mm512_reduce_ps(x, 0); }
  // x 2^n for whole n; infinite n give 0 and infinity.
  LONGSHORE_VECTOR F ScaleByPower(F x, F n) { return _mm512_scalef_ps(x, n); }
  LONGSHORE_VECTOR F LoadBf16(const uint16_t* p) {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  LONGSHORE_VECTOR F LoadF16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  LONGSHORE_VECTOR void StoreBf16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  // Both reductions pair lanes i and i + 8, then + 4, + 2, + 1.
  LONGSHORE_VECTOR float SumLanes(F x) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }
  LONGSHORE_VECTOR float MaxLanes(F x) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
  }

  LONGSHORE_VECTOR I SetInt(int32_t x) { return _mm512_set1_epi32(x); }
  LONGSHORE_VECTOR F ToFloat(I x) { return _mm512_cvtepi32_ps(x); }
  LONGSHORE_VECTOR I ToInt(F x) { return _mm512_cvtps_epi32(x); }
  LONGSHORE_VECTOR int32_t SumLanes(I x) { return _mm512_reduce_add_epi32(x); }
  LONGSHORE_VECTOR void StoreInt8(int8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x));
  }

  // 64 unsigned bytes: four per lane.
  using Bytes = __m512i;
  LONGSHORE_VECTOR Bytes LoadBytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  LONGSHORE_VECTOR Bytes LowNibbles(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  LONGSHORE_VECTOR Bytes HighNibbles(Bytes x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15));
  }
  // acc + the products of each lane's four unsigned bytes with the four signed bytes at p, the same for all lanes. kBits: 4, 7 or 8.
  template <int kBits>
  LONGSHORE_VECTOR I DotBytes(I acc, Bytes w, const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
  }

  // 16 pairs of bf16: one pair per lane.
  using Pairs = __m512i;
  LONGSHORE_VECTOR Pairs LoadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
  LONGSHORE_VECTOR Pairs FirstOfPairs(Pairs x) { return _mm512_and_si512(x, _mm512_set1_epi32(0xffff)); }
  // acc + a[0] * first + a[1] * second, fused by the instruction.
  LONGSHORE_VECTOR F DotPairs(F acc, const uint16_t* a, Pairs b) {
    int32_t pair;
    __builtin_memcpy(&pair, a, 4);
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)), reinterpret_cast<__m512bh>(b));
  }
  // The same in two f32 multiply-adds, first then second.
  LONGSHORE_VECTOR F DotPairs(F acc, const float* a, Pairs b) {
    const F first = _mm512_castsi512_ps(_mm512_slli_epi32(b, 16));
    const F second = _mm512_castsi512_ps(_mm512_and_si512(b, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
    return _mm512_fmadd_ps(_mm512_set1_ps(a[1]), second, _mm512_fmadd_ps(_mm512_set1_ps(a[0]), first, acc));
  }

  LONGSHORE_VECTOR F First(Pairs x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
  LONGSHORE_VECTOR F Second(Pairs x) { return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000)))); }
  // Bit i: lane i of a >= lane i of b.
  LONGSHORE_VECTOR uint32_t AtLeast(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  LONGSHORE_VECTOR F LoadU16(const uint16_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))); }

  // Sums of table entries for the 128 keys of a block; see SketchScan.
  template <int kQueries>
  LONGSHORE_VECTOR void LookupSums(const uint8_t* codes, const uint8_t* const* tables, uint32_t groups, uint16_t (*sums)[128]) {
    const __m512i nibble = _mm512_set1_epi8(15), byte = _mm512_set1_epi16(255);
    __m512i sum[kQueries][4] = {};
    for (uint32_t g = 0; g < groups; g += 4) {
      __m512i low[kQueries], high[kQueries];
      for (uint32_t i = 0; i < 4; ++i) {
        const __m512i x = _mm512_loadu_si512(codes + (g + i) * 64);
        const __m512i l = _mm512_and_si512(x, nibble), h = _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble);
        for (int q = 0; q < kQueries; ++q) {
          const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tables[q] + (g + i) * 16)));
          const __m512i a = _mm512_shuffle_epi8(table, l), b = _mm512_shuffle_epi8(table, h);
          low[q] = i == 0 ? a : _mm512_add_epi8(low[q], a);
          high[q] = i == 0 ? b : _mm512_add_epi8(high[q], b);
        }
      }
      for (int q = 0; q < kQueries; ++q) {
        sum[q][0] = _mm512_add_epi16(sum[q][0], _mm512_and_si512(low[q], byte));
        sum[q][1] = _mm512_add_epi16(sum[q][1], _mm512_srli_epi16(low[q], 8));
        sum[q][2] = _mm512_add_epi16(sum[q][2], _mm512_and_si512(high[q], byte));
        sum[q][3] = _mm512_add_epi16(sum[q][3], _mm512_srli_epi16(high[q], 8));
      }
    }
    for (int q = 0; q < kQueries; ++q)
      for (int i = 0; i < 4; ++i) _mm512_storeu_si512(sums[q] + 32 * i, sum[q][i]);
  }
};

}  // namespace
}  // namespace longshore::kernels
