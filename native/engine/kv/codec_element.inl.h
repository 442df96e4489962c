// Elements of the pool inside the codecs' row loops: T is uint16_t (bf16 bits) or float. Part of codec_rows_<isa>.cc, in a namespace
// of that file alone (native/cmake/Isa.cmake says why): nothing from the standard library that the linker might share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace {

inline float FloatOfBits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline uint32_t BitsOfFloat(float value) { return __builtin_bit_cast(uint32_t, value); }
inline float Magnitude(float x) { return FloatOfBits(BitsOfFloat(x) & 0x7fffffffu); }

template <typename T>
inline T Load(const uint8_t* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof(T));
  return value;
}
template <typename T>
inline void Store(uint8_t* p, T value) {
  __builtin_memcpy(p, &value, sizeof(T));
}

template <typename T>
inline float LoadElement(const uint8_t* p) {
  const T value = Load<T>(p);
  if constexpr (std::is_same_v<T, uint16_t>) return FloatOfBits(uint32_t{value} << 16);
  else return value;
}

// Rounds to the element: for bf16 to nearest, ties to even; a NaN stays a (quiet) NaN.
template <typename T>
inline void StoreElement(float value, uint8_t* p) {
  if constexpr (std::is_same_v<T, uint16_t>) {
    const uint32_t bits = BitsOfFloat(value);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40;
    Store<uint16_t>(p, static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded));
  } else {
    Store<float>(p, value);
  }
}

}  // namespace
