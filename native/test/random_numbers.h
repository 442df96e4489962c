// Reproducible pseudo-random test data.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace longshore::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1du;
  }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>((Next() >> 32) * n >> 32); }
  // Uniform in [-1, 1).
  float Unit() { return static_cast<float>(static_cast<double>(Next() >> 11) * 0x1p-52 - 1.0); }
  std::vector<float> Units(size_t n, float scale = 1.f) {
    std::vector<float> v(n);
    for (float& x : v) x = Unit() * scale;
    return v;
  }

 private:
  uint64_t state_;
};

inline uint16_t ToBf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

inline float FromBf16(uint16_t h) {
  const uint32_t u = uint32_t{h} << 16;
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

// Half bits of a normal half-precision value near x, |x| in [2^-13, 60000]; truncates.
inline uint16_t ToF16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>((u >> 16 & 0x8000u) | ((((u >> 23) & 255u) - 112u) << 10) | (u >> 13 & 0x3ffu));
}

}  // namespace longshore::test
