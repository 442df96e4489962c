#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/philox.h"

namespace longshore {
namespace internal {

double ExpNegative(double x) {
  // Branch-free, so that a loop over it becomes vector code. Below -708 the result is set to 0 at the end.
  const double clamped = x >= -708.0 ? x : -708.0;
  // x = k ln 2 + r, |r| <= ln 2 / 2; adding 1.5 * 2^52 rounds to an integer and leaves k in the low bits.
  const double magic = 0x1.8p52;
  const double shifted = clamped * 1.4426950408889634 + magic;
  const double k = shifted - magic;
  const double r = (clamped - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45;
  double p = 1.0 / 479001600;  // Taylor to r^12: the remainder is below 2e-16 on this interval
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  return x >= -708.0 ? p * std::bit_cast<double>(scale) : 0.0;
}

}  // namespace internal

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

Status Invalid(const char* what) { return {Code::kInvalidArgument, std::string("sampling: ") + what}; }

bool HasPenalty(const SamplingParams& p) {
  return p.repetition_penalty != 1.f || p.presence_penalty != 0.f || p.frequency_penalty != 0.f;
}

struct Candidate {
  float logit;
  uint32_t id;
};

bool Better(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

uint32_t ArgMax(std::span<const float> logits) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < logits.size(); i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

void ApplyPenalties(const SamplingParams& params, std::span<const uint32_t> history, std::span<float> logits) {
  std::vector<uint32_t> counts(logits.size(), 0);
  for (const uint32_t id : history) {
    if (counts[id]++ > 0) continue;
    float& logit = logits[id];
    logit = logit > 0.f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.presence_penalty;
  }
  if (params.frequency_penalty == 0.f) return;
  for (uint32_t id = 0; id < counts.size(); id++) {
    if (counts[id] > 0) logits[id] -= params.frequency_penalty * static_cast<float>(counts[id]);
  }
}

// The n best, best first.
std::vector<Candidate> Best(std::span<const float> logits, std::span<const uint32_t> ids, size_t n) {
  std::vector<Candidate> all(logits.size());
  for (size_t i = 0; i < all.size(); i++) all[i] = {logits[i], ids.empty() ? static_cast<uint32_t>(i) : ids[i]};
  n = std::min(n, all.size());
  const auto end = all.begin() + static_cast<ptrdiff_t>(n);
  // Few: one pass with a heap. Many: select, then order what was selected.
  if (n > 1024) std::nth_element(all.begin(), end - 1, all.end(), Better);
  std::partial_sort(all.begin(), end, n > 1024 ? end : all.end(), Better);
  all.resize(n);
  return all;
}

float Max(std::span<const float> values) {
  float max = kNever;
  for (const float value : values) max = value > max ? value : max;
  return max;
}

// The same bits from every clone: no fused multiply-add, no reordering.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their runtimes are not up yet when clones are chosen
#define LONGSHORE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define LONGSHORE_CLONES
#endif

// exp((logit - max) * inverse_temperature) of each.
LONGSHORE_CLONES std::vector<double> Weights(std::span<const float> logits, float max, double inverse_temperature) {
  std::vector<double> weights(logits.size());
  for (size_t i = 0; i < weights.size(); i++) {
    weights[i] = internal::ExpNegative((static_cast<double>(logits[i]) - static_cast<double>(max)) * inverse_temperature);
  }
  return weights;
}

// In a fixed order: eight interleaved partial sums.
double Sum(std::span<const double> values) {
  double lanes[8] = {};
  size_t i = 0;
  for (; i + 8 <= values.size(); i += 8) {
    for (size_t lane = 0; lane < 8; lane++) lanes[lane] += values[i + lane];
  }
  for (size_t lane = 0; i < values.size(); i++, lane++) lanes[lane] += values[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// The tokens that the filters leave, always in order of token id. Every filter keeps a prefix of the order `Better`, so each is
// a cutoff, and nothing needs the vocabulary sorted.
class Distribution {
 public:
  Distribution(std::span<const float> logits, const SamplingParams& params) {
    ids_.resize(logits.size());
    for (uint32_t id = 0; id < logits.size(); id++) ids_[id] = id;
    logits_.assign(logits.begin(), logits.end());
    if (!params.banned.empty()) Keep([&](size_t i) { return logits_[i] > kNever; });
    if (ids_.empty()) return;
    if (params.top_k > 0 && params.top_k < ids_.size()) KeepFrom(Best(logits_, ids_, params.top_k).back());
    max_ = Max(logits_);
    if (max_ == kNever) {
      ids_.clear();
      return;
    }
    inverse_temperature_ = 1.0 / static_cast<double>(params.temperature);
    weights_ = Weights(logits_, max_, inverse_temperature_);
    if (params.top_p < 1.f) TopP(static_cast<double>(params.top_p));
    if (params.min_p > 0.f) Keep([&](size_t i) { return weights_[i] >= static_cast<double>(params.min_p); });
  }

  bool empty() const { return ids_.empty(); }

  uint32_t Draw(double uniform) const {
    const double target = uniform * Sum(weights_);
    double sum = 0;
    for (size_t i = 0; i < ids_.size(); i++) {
      sum += weights_[i];
      if (sum > target) return ids_[i];
    }
    // Reached only when rounding makes the sum end at the target: the last token with any weight.
    size_t last = ids_.size() - 1;
    while (last > 0 && weights_[last] == 0) last--;
    return ids_[last];
  }

 private:
  // The shortest prefix of the order `Better` whose weight reaches top_p of what is left. Weights are summed in bins of
  // 1/16 nat of distance from the best; only the bin in which the threshold falls is sorted.
  void TopP(double top_p) {
    constexpr size_t kBins = 1024;
    const auto bin_of = [&](size_t i) {
      const double distance = (static_cast<double>(max_) - static_cast<double>(logits_[i])) * inverse_temperature_ * 16;
      return distance < kBins - 1 ? static_cast<size_t>(distance) : kBins - 1;
    };
    std::vector<double> bins(kBins, 0.0);
    for (size_t i = 0; i < ids_.size(); i++) bins[bin_of(i)] += weights_[i];
    const double target = top_p * Sum(bins);
    double sum = 0;
    size_t bin = 0;
    while (bin < kBins - 1 && sum + bins[bin] < target) sum += bins[bin++];
    std::vector<float> logits;
    std::vector<uint32_t> ids;
    for (size_t i = 0; i < ids_.size(); i++) {
      if (bin_of(i) == bin) logits.push_back(logits_[i]), ids.push_back(ids_[i]);
    }
    if (ids.empty()) return;
    const std::vector<Candidate> order = Best(logits, ids, ids.size());
    size_t last = 0;
    for (;; last++) {
      sum += internal::ExpNegative((static_cast<double>(order[last].logit) - static_cast<double>(max_)) * inverse_temperature_);
      if (sum >= target || last + 1 == order.size()) break;
    }
    KeepFrom(order[last]);
  }

  void KeepFrom(Candidate worst) {
    Keep([&](size_t i) { return !Better(worst, {logits_[i], ids_[i]}); });
  }

  template <typename Wanted>
  void Keep(const Wanted& wanted) {
    size_t kept = 0;
    for (size_t i = 0; i < ids_.size(); i++) {
      if (!wanted(i)) continue;
      ids_[kept] = ids_[i];
      logits_[kept] = logits_[i];
      if (!weights_.empty()) weights_[kept] = weights_[i];
      kept++;
    }
    ids_.resize(kept);
    logits_.resize(kept);
    if (!weights_.empty()) weights_.resize(kept);
  }

  std::vector<uint32_t> ids_;
  std::vector<float> logits_;
  std::vector<double> weights_;  // relative to the best token's 1; empty before top_k has been applied
  float max_ = kNever;
  double inverse_temperature_ = 1.0;
};

void ReportLogprobs(std::span<const float> logits, const SamplingParams& params, StepOutput* output) {
  const float max = Max(logits);
  const double log_sum = static_cast<double>(max) + std::log(Sum(Weights(logits, max, 1.0)));
  output->logprob = static_cast<float>(static_cast<double>(logits[static_cast<size_t>(output->token)]) - log_sum);
  if (params.top_logprobs == 0) return;
  for (const Candidate& c : Best(logits, {}, params.top_logprobs)) {
    output->top.push_back({c.id, static_cast<float>(static_cast<double>(c.logit) - log_sum)});
  }
}

}  // namespace

Status CheckSampling(const SamplingParams& p, std::span<const uint32_t> history, uint32_t vocab) {
  if (!(p.temperature >= 0.f && p.temperature <= 1e6f)) return Invalid("temperature must be in [0, 1e6]");
  if (!(p.top_p > 0.f && p.top_p <= 1.f)) return Invalid("top_p must be in (0, 1]");
  if (!(p.min_p >= 0.f && p.min_p <= 1.f)) return Invalid("min_p must be in [0, 1]");
  if (!(p.repetition_penalty >= 0.01f && p.repetition_penalty <= 100.f)) return Invalid("repetition_penalty must be in [0.01, 100]");
  if (!(std::fabs(p.presence_penalty) <= 1e6f)) return Invalid("presence_penalty must be in [-1e6, 1e6]");
  if (!(std::fabs(p.frequency_penalty) <= 1e6f)) return Invalid("frequency_penalty must be in [-1e6, 1e6]");
  if (p.top_logprobs > kMaxTopLogprobs) return Invalid("top_logprobs must be at most 20");
  if (p.logit_bias.size() > vocab) return Invalid("logit_bias has more entries than the vocabulary");
  for (const auto& [id, bias] : p.logit_bias) {
    if (id >= vocab) return Invalid("logit_bias names a token outside the vocabulary");
    if (!(std::fabs(bias) <= 1e6f)) return Invalid("a logit_bias must be in [-1e6, 1e6]");
  }
  for (const uint32_t id : p.banned) {
    if (id >= vocab) return Invalid("banned names a token outside the vocabulary");
  }
  if (HasPenalty(p)) {
    for (const uint32_t id : history) {
      if (id >= vocab) return Invalid("history names a token outside the vocabulary");
    }
  }
  return Status::Ok();
}

Status Sample(std::span<const float> logits, const SamplingParams& params, std::span<const uint32_t> history, uint64_t position,
              StepOutput* output) {
  if (logits.empty()) return {Code::kInternal, "sampling: no logits"};
  for (const float logit : logits) {
    if (!(logit < std::numeric_limits<float>::infinity())) return {Code::kInternal, "sampling: a logit is not finite"};
  }
  const bool changes = HasPenalty(params) || !params.logit_bias.empty() || !params.banned.empty();
  std::vector<float> changed;
  if (changes) {
    changed.assign(logits.begin(), logits.end());
    if (HasPenalty(params)) ApplyPenalties(params, history, changed);
    for (const auto& [id, bias] : params.logit_bias) changed[id] += bias;
    for (const uint32_t id : params.banned) changed[id] = kNever;
  }
  const std::span<const float> final_logits = changes ? std::span<const float>(changed) : logits;

  if (params.temperature == 0.f) {
    output->token = ArgMax(final_logits);
    if (final_logits[static_cast<size_t>(output->token)] == kNever) return Invalid("every token is banned");
  } else {
    const Distribution distribution(final_logits, params);
    if (distribution.empty()) return Invalid("every token is banned");
    output->token = distribution.Draw(UniformAt(params.seed, position));
  }
  output->top.clear();
  output->logprob = 0.f;
  if (params.logprobs || params.top_logprobs > 0) ReportLogprobs(logits, params, output);
  return Status::Ok();
}

}  // namespace longshore
