// Rotary position embedding: the angles of each position. Half-split pairing (i, i + dims/2); files with interleaved pairs have
// their Q and K rows reordered when they are loaded (packed_matrix.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/formats/hyperparameters.h"

namespace longshore {

class Rope {
 public:
  Rope() = default;
  // `divisors`: GGUF's rope_freqs [rope_dims/2], or empty.
  Rope(const Hyperparameters& h, std::span<const float> divisors);

  uint32_t half() const { return static_cast<uint32_t>(frequencies_.size()); }
  std::span<const float> frequencies() const { return frequencies_; }
  double magnitude() const { return magnitude_; }
  // cos and sin [half] of one position. The angle is rounded to f32 as transformers and ggml do it; its cos and sin are not.
  void Angles(uint32_t position, float* cos, float* sin) const;

 private:
  std::vector<float> frequencies_;  // radians per position
  double magnitude_ = 1.0;          // YaRN's factor on cos and sin
};

}  // namespace longshore
