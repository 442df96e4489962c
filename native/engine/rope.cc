#include "engine/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longshore {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// Llama 3.1: long wavelengths are stretched by the factor, short ones kept, those between blended.
double Llama3(double frequency, const RopeScaling& s) {
  const double turns = s.original_context * frequency / kTwoPi;  // over the original context
  if (turns < s.low_freq_factor) return frequency / s.factor;
  if (turns > s.high_freq_factor) return frequency;
  const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

// The channel pair (fractional) that turns `turns` times over the original context.
double YarnChannel(double turns, const Hyperparameters& h) {
  return h.rope_dims * std::log(h.rope_scaling.original_context / (turns * kTwoPi)) / (2 * std::log(h.rope_theta));
}

double Yarn(double frequency, uint32_t i, const Hyperparameters& h) {
  const RopeScaling& s = h.rope_scaling;
  double low = YarnChannel(s.beta_fast, h), high = YarnChannel(s.beta_slow, h);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, h.rope_dims - 1.0);
  if (low == high) high += 0.001;
  const double stretched = std::clamp((i - low) / (high - low), 0.0, 1.0);
  return frequency / s.factor * stretched + frequency * (1 - stretched);
}

}  // namespace

Rope::Rope(const Hyperparameters& h, std::span<const float> divisors) : frequencies_(h.rope_dims / 2) {
  for (uint32_t i = 0; i < frequencies_.size(); ++i) {
    double f = std::pow(h.rope_theta, -2.0 * i / h.rope_dims);
    switch (h.rope_scaling.kind) {
      case RopeScalingKind::kNone: break;
      case RopeScalingKind::kLinear: f /= h.rope_scaling.factor; break;
      case RopeScalingKind::kLlama3: f = Llama3(f, h.rope_scaling); break;
      case RopeScalingKind::kYarn: f = Yarn(f, i, h); break;
    }
    if (!divisors.empty()) f /= static_cast<double>(divisors[i]);
    frequencies_[i] = static_cast<float>(f);
  }
  if (h.rope_scaling.kind == RopeScalingKind::kYarn) magnitude_ = h.rope_scaling.attention_factor;
}

void Rope::Angles(uint32_t position, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle) * magnitude_);
    sin[i] = static_cast<float>(std::sin(angle) * magnitude_);
  }
}

}  // namespace longshore
