// CRC-32 by folding 64 bytes at a time with carry-less products (Gopal et al., "Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ Instruction", Intel 2009; the constants are the paper's for the reflected polynomial).
#include "engine/kv/crc32.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace longshore::internal {
namespace {

using Lane = __m128i;

__attribute__((target("pclmul,sse4.1"))) inline Lane Load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const Lane*>(p)); }

// x moved ahead by the distance that `by` stands for, plus `next`.
__attribute__((target("pclmul,sse4.1"))) inline Lane Fold(Lane x, Lane by, Lane next) {
  return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

}  // namespace

bool Crc32Folds() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

__attribute__((target("pclmul,sse4.1"))) uint32_t Crc32Fold(uint32_t state, const uint8_t* data, size_t bytes) {
  const Lane by64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  Lane x0 = _mm_xor_si128(Load(data), _mm_cvtsi32_si128(static_cast<int>(state)));
  Lane x1 = Load(data + 16), x2 = Load(data + 32), x3 = Load(data + 48);
  for (data += 64, bytes -= 64; bytes >= 64; data += 64, bytes -= 64) {
    x0 = Fold(x0, by64, Load(data));
    x1 = Fold(x1, by64, Load(data + 16));
    x2 = Fold(x2, by64, Load(data + 32));
    x3 = Fold(x3, by64, Load(data + 48));
  }
  x0 = Fold(Fold(Fold(x0, by16, x1), by16, x2), by16, x3);
  for (; bytes >= 16; data += 16, bytes -= 16) x0 = Fold(x0, by16, Load(data));

  // 128 bits to 64, to 32 (Barrett).
  const Lane low32 = _mm_setr_epi32(~0, 0, ~0, 0);
  x0 = _mm_xor_si128(_mm_srli_si128(x0, 8), _mm_clmulepi64_si128(x0, by16, 0x10));
  const Lane by8 = _mm_set_epi64x(0, 0x0163cd6124);
  x0 = _mm_xor_si128(_mm_srli_si128(x0, 4), _mm_clmulepi64_si128(_mm_and_si128(x0, low32), by8, 0x00));
  const Lane barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
  Lane q = _mm_clmulepi64_si128(_mm_and_si128(x0, low32), barrett, 0x10);
  q = _mm_clmulepi64_si128(_mm_and_si128(q, low32), barrett, 0x00);
  return static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(x0, q), 1));
}

}  // namespace longshore::internal

#else

namespace longshore::internal {
bool Crc32Folds() { return false; }
uint32_t Crc32Fold(uint32_t state, const uint8_t*, size_t) { return state; }
}  // namespace longshore::internal

#endif
