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
  if (!(x >= -708.0)) return 0.0;
  // x = k ln 2 + r, |r| <= ln 2 / 2; adding 1.5 * 2^52 rounds to an integer.
  const double magic = 0x1.8p52;
  const double k = (x * 1.4426950408889634 + magic) - magic;
  const double r = (x - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45;
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
  return p * std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(k) + 1023) << 52);
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

std::vector<Candidate> AllCandidates(std::span<const float> logits) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (uint32_t id = 0; id < logits.size(); id++) {
    if (logits[id] > kNever) candidates.push_back({logits[id], id});
  }
  return candidates;
}

// The distribution that the filters leave: weights in order of token id. Filters only ever keep a prefix of the order `Better`,
// so each is a cutoff, and nothing needs the whole vocabulary sorted.
class Distribution {
 public:
  Distribution(std::span<const float> logits, float temperature) : candidates_(AllCandidates(logits)) {
    float max = kNever;
    for (const Candidate& c : candidates_) max = std::max(max, c.logit);
    max_ = max;
    inverse_temperature_ = 1.0 / static_cast<double>(temperature);
  }

  bool empty() const { return candidates_.empty(); }

  void TopK(uint32_t k) {
    if (k == 0 || k >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), Better);
    candidates_.resize(k);
    SortById();  // nth_element's order is the library's own, and sums depend on order
  }

  // The shortest prefix whose share of what is left reaches top_p.
  void TopP(float top_p) {
    if (top_p >= 1.f) return;
    const double target = static_cast<double>(top_p) * Total();
    double sum = 0;
    size_t done = 0;
    for (size_t take = 64; done < candidates_.size(); take *= 4) {
      const size_t end = std::min(done + take, candidates_.size());
      if (end < candidates_.size()) std::nth_element(candidates_.begin() + done, candidates_.begin() + end, candidates_.end(), Better);
      std::sort(candidates_.begin() + done, candidates_.begin() + end, Better);
      for (; done < end; done++) {
        sum += Weight(candidates_[done]);
        if (sum >= target) {
          candidates_.resize(done + 1);
          return;
        }
      }
    }
  }

  // Drops what is less likely than min_p times the likeliest.
  void MinP(float min_p) {
    if (min_p <= 0.f) return;
    std::erase_if(candidates_, [&](const Candidate& c) { return Weight(c) < static_cast<double>(min_p); });
  }

  uint32_t Draw(double uniform) {
    SortById();
    const double target = uniform * Total();
    double sum = 0;
    for (const Candidate& c : candidates_) {
      sum += Weight(c);
      if (sum > target) return c.id;
    }
    // Reached only when rounding makes the sum end at the target: the last token with any weight.
    for (size_t i = candidates_.size(); i-- > 1;) {
      if (Weight(candidates_[i]) > 0) return candidates_[i].id;
    }
    return candidates_[0].id;
  }

 private:
  // Relative to the likeliest token's 1.
  double Weight(const Candidate& c) const {
    return internal::ExpNegative((static_cast<double>(c.logit) - static_cast<double>(max_)) * inverse_temperature_);
  }

  void SortById() {
    std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }

  double Total() const {
    double total = 0;
    for (const Candidate& c : candidates_) total += Weight(c);
    return total;
  }

  std::vector<Candidate> candidates_;
  float max_;
  double inverse_temperature_;
};

void ReportLogprobs(std::span<const float> logits, const SamplingParams& params, StepOutput* output) {
  const double max = static_cast<double>(logits[ArgMax(logits)]);
  double total = 0;
  for (const float logit : logits) total += internal::ExpNegative(static_cast<double>(logit) - max);
  const double log_sum = max + std::log(total);
  output->logprob = static_cast<float>(static_cast<double>(logits[static_cast<size_t>(output->token)]) - log_sum);
  if (params.top_logprobs == 0) return;
  std::vector<Candidate> candidates = AllCandidates(logits);
  const size_t n = std::min<size_t>(params.top_logprobs, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + n, candidates.end(), Better);
  for (size_t i = 0; i < n; i++) {
    output->top.push_back({candidates[i].id, static_cast<float>(static_cast<double>(candidates[i].logit) - log_sum)});
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
    Distribution distribution(final_logits, params.temperature);
    if (distribution.empty()) return Invalid("every token is banned");
    distribution.TopK(params.top_k);
    distribution.TopP(params.top_p);
    distribution.MinP(params.min_p);
    output->token = distribution.Draw(UniformAt(params.seed, position));
  }
  output->top.clear();
  output->logprob = 0.f;
  if (params.logprobs || params.top_logprobs > 0) ReportLogprobs(logits, params, output);
  return Status::Ok();
}

}  // namespace longshore
