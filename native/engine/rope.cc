#include "engine/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longshore {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// cos and sin of 0 <= angle < 2^20 pi/2 with errors below 1e-15. Own code because positions rotate keys that other machines
// read back, and C libraries differ in the last place. Reduction by pi/2 in two parts (the first of 33 bits, so that its multiples
// are exact); polynomials of fdlibm's __kernel_sin and __kernel_cos.
void CosSin(double angle, double* cos, double* sin) {
  const double n = std::nearbyint(angle * (2 / std::numbers::pi));
  const double r = (angle - n * 1.57079632673412561417e+00) - n * 6.07710050650619224932e-11;
  const double z = r * r;
  const double s = r + r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 +
                   z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)))));
  const double c = 1 - 0.5 * z + z * z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 +
                   z * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
  switch (static_cast<uint64_t>(n) & 3u) {
    case 0: *cos = c, *sin = s; break;
    case 1: *cos = -s, *sin = c; break;
    case 2: *cos = -c, *sin = -s; break;
    default: *cos = s, *sin = -c; break;
  }
}

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
    double c, s;
    CosSin(static_cast<double>(static_cast<float>(position) * frequencies_[i]), &c, &s);
    cos[i] = static_cast<float>(c * magnitude_);
    sin[i] = static_cast<float>(s * magnitude_);
  }
}

}  // namespace longshore
