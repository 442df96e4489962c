#include "engine/sampler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "engine/philox.h"
#include "test/check.h"

namespace longshore {
namespace {

std::vector<float> RandomLogits(uint32_t vocab, uint32_t seed, float spread = 3.f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.f, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

int64_t Draw(std::span<const float> logits, const SamplingParams& params, uint64_t position, std::span<const uint32_t> history = {}) {
  CHECK_OK(CheckSampling(params, history, static_cast<uint32_t>(logits.size())));
  StepOutput output;
  CHECK_OK(Sample(logits, params, history, position, &output));
  return output.token;
}

// The slow obvious twin: sorts everything, uses the library's exponential, and says which tokens the filters keep.
std::vector<double> TwinDistribution(std::vector<float> logits, const SamplingParams& p, std::span<const uint32_t> history) {
  std::map<uint32_t, uint32_t> counts;
  for (const uint32_t id : history) counts[id]++;
  for (const auto& [id, count] : counts) {
    logits[id] = logits[id] > 0 ? logits[id] / p.repetition_penalty : logits[id] * p.repetition_penalty;
    logits[id] -= p.presence_penalty;
    logits[id] -= p.frequency_penalty * static_cast<float>(count);
  }
  for (const auto& [id, bias] : p.logit_bias) logits[id] += bias;
  for (const uint32_t id : p.banned) logits[id] = -std::numeric_limits<float>::infinity();
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  std::vector<double> probability(logits.size(), 0.0);
  double total = 0;
  size_t kept = p.top_k == 0 ? order.size() : std::min<size_t>(p.top_k, order.size());
  for (size_t i = 0; i < kept; i++) {
    probability[order[i]] = std::exp((static_cast<double>(logits[order[i]]) - logits[order[0]]) / p.temperature);
    total += probability[order[i]];
  }
  double sum = 0;
  size_t i = 0;
  while (i < kept && (p.top_p >= 1.f || sum < static_cast<double>(p.top_p) * total)) sum += probability[order[i++]];
  for (; i < kept; i++) probability[order[i]] = 0;
  for (double& x : probability) {
    if (x < static_cast<double>(p.min_p)) x = 0;
  }
  total = std::accumulate(probability.begin(), probability.end(), 0.0);
  for (double& x : probability) x /= total;
  return probability;
}

// Known answers of Random123 1.14 (kat_vectors, philox 4x32 10).
TEST(philox_equals_its_authors_vectors) {
  using W = std::array<uint32_t, 4>;
  CHECK((Philox({0, 0, 0, 0}, {0, 0}) == W{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  CHECK((Philox({f, f, f, f}, {f, f}) == W{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
         W{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(uniform_number_is_a_fixed_function_of_seed_and_position) {
  CHECK_EQ(UniformAt(0, 0), static_cast<double>((uint64_t{0xe169c58d} << 32 | 0x6627e8d5) >> 11) / 9007199254740992.0);
  CHECK(UniformAt(1, 0) != UniformAt(0, 0));
  CHECK(UniformAt(0, 1) != UniformAt(0, 0));
  CHECK(UniformAt(0, uint64_t{1} << 32) != UniformAt(0, 0));
}

TEST(exponential_is_precise) {
  for (double x = 0; x > -700; x -= 0.0371) {
    const double exact = std::exp(x);
    CHECK(std::fabs(internal::ExpNegative(x) - exact) <= 2e-15 * exact);
  }
  CHECK_EQ(internal::ExpNegative(-1e300), 0.0);
  CHECK_EQ(internal::ExpNegative(-std::numeric_limits<double>::infinity()), 0.0);
}

TEST(greedy_takes_the_lowest_id_among_equal_logits) {
  CHECK_EQ(Draw(std::vector<float>{1, 5, 5, 2}, {}, 0), 1);
  SamplingParams banned;
  banned.banned = {1};
  CHECK_EQ(Draw(std::vector<float>{1, 5, 5, 2}, banned, 0), 2);
}

TEST(draws_follow_the_softmax_at_the_given_temperature) {
  const auto logits = RandomLogits(12, 5, 1.f);
  SamplingParams params;
  params.temperature = 0.8f;
  params.seed = 42;
  const auto expected = TwinDistribution(logits, params, {});
  const int draws = 40000;
  std::vector<int> seen(logits.size());
  for (int position = 0; position < draws; position++) seen[static_cast<size_t>(Draw(logits, params, static_cast<uint64_t>(position)))]++;
  double chi_square = 0;
  for (size_t i = 0; i < seen.size(); i++) {
    const double e = expected[i] * draws;
    chi_square += (seen[i] - e) * (seen[i] - e) / e;
  }
  CHECK(chi_square < 31.26);  // 11 degrees of freedom, p = 0.001
  CHECK(chi_square > 1.0);    // a suspiciously perfect fit would mean that positions are not independent
}

TEST(every_combination_of_filters_keeps_what_the_sorted_twin_keeps) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; round++) {
    const uint32_t vocab = 1 + random() % 700;
    auto logits = RandomLogits(vocab, static_cast<uint32_t>(random()));
    if (round % 4 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    SamplingParams p;
    p.temperature = 0.3f + static_cast<float>(random() % 20) / 10.f;
    p.seed = random();
    if (random() % 2) p.top_k = 1 + random() % (vocab + 5);
    if (random() % 2) p.top_p = 0.05f + static_cast<float>(random() % 90) / 100.f;
    if (random() % 2) p.min_p = static_cast<float>(random() % 50) / 100.f;
    std::vector<uint32_t> history(random() % 50);
    for (auto& id : history) id = random() % vocab;
    if (random() % 2) p.repetition_penalty = 1.3f;
    if (random() % 2) p.presence_penalty = 0.7f;
    if (random() % 2) p.frequency_penalty = 0.4f;
    if (random() % 2) p.logit_bias = {{random() % vocab, 2.5f}, {random() % vocab, -2.5f}};
    if (vocab > 1 && random() % 2) p.banned = {static_cast<uint32_t>(random() % vocab)};
    const auto expected = TwinDistribution(logits, p, history);
    for (uint64_t position = 0; position < 20; position++) {
      const auto token = static_cast<size_t>(Draw(logits, p, position, history));
      CHECK(expected[token] > 0);
      // The drawn token is where the cumulative sum passes the uniform number.
      double below = 0;
      for (size_t i = 0; i < token; i++) below += expected[i];
      const double u = UniformAt(p.seed, position);
      CHECK(below <= u + 1e-12);
      CHECK(u <= below + expected[token] + 1e-12);
    }
  }
}

TEST(filters_that_keep_everything_change_no_draw) {
  const auto logits = RandomLogits(5000, 3);
  SamplingParams plain, full;
  plain.temperature = full.temperature = 1.f;
  full.top_k = 5000;
  full.min_p = 1e-30f;
  for (uint64_t position = 0; position < 50; position++) CHECK_EQ(Draw(logits, plain, position), Draw(logits, full, position));
}

TEST(top_p_keeps_the_token_that_crosses_the_threshold_and_no_more) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  SamplingParams p;
  p.temperature = 1.f;
  p.top_p = 0.6f;
  bool seen[3] = {};
  for (uint64_t position = 0; position < 300; position++) seen[Draw(logits, p, position)] = true;
  CHECK(seen[0] && seen[1] && !seen[2]);
  p.top_p = 0.4f;
  for (uint64_t position = 0; position < 50; position++) CHECK_EQ(Draw(logits, p, position), 0);
}

TEST(a_continuation_elsewhere_draws_the_same_tokens) {
  SamplingParams p;
  p.temperature = 1.2f;
  p.top_k = 40;
  p.seed = 0x123456789abcdefull;
  std::vector<int64_t> whole, continued;
  for (uint64_t position = 0; position < 64; position++) whole.push_back(Draw(RandomLogits(900, static_cast<uint32_t>(position)), p, position));
  for (uint64_t position = 40; position < 64; position++) continued.push_back(Draw(RandomLogits(900, static_cast<uint32_t>(position)), p, position));
  CHECK(std::equal(continued.begin(), continued.end(), whole.begin() + 40));
  p.seed++;
  int same = 0;
  for (uint64_t position = 0; position < 64; position++) same += Draw(RandomLogits(900, static_cast<uint32_t>(position)), p, position) == whole[position];
  CHECK(same < 32);
}

TEST(penalties_follow_their_formulas) {
  const std::vector<float> logits = {4.f, -1.f, 3.f, 2.f};
  const std::vector<uint32_t> history = {0, 0, 1};
  SamplingParams p;
  p.repetition_penalty = 2.f;  // 4 -> 2, -1 -> -2
  CHECK_EQ(Draw(logits, p, 0, history), 2);
  p = {};
  p.presence_penalty = 0.9f;  // 4 -> 3.1
  CHECK_EQ(Draw(logits, p, 0, history), 0);
  p.presence_penalty = 1.1f;  // 4 -> 2.9
  CHECK_EQ(Draw(logits, p, 0, history), 2);
  p = {};
  p.frequency_penalty = 0.6f;  // 4 -> 2.8: counted twice
  CHECK_EQ(Draw(logits, p, 0, history), 2);
  p = {};
  p.logit_bias = {{1, 5.5f}};
  CHECK_EQ(Draw(logits, p, 0, history), 1);
}

TEST(logprobs_are_those_of_the_unmodified_softmax) {
  const auto logits = RandomLogits(1000, 9);
  SamplingParams p;
  p.temperature = 0.5f;
  p.logprobs = true;
  p.top_logprobs = 5;
  p.banned = {static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
  StepOutput output;
  CHECK_OK(Sample(logits, p, {}, 3, &output));
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  REQUIRE(output.top.size() == 5);
  CHECK_EQ(output.top[0].id, p.banned[0]);
  for (size_t i = 0; i < 5; i++) {
    CHECK_NEAR(output.top[i].logprob, static_cast<double>(logits[output.top[i].id]) - std::log(total), 1e-5);
    if (i > 0) CHECK(output.top[i].logprob <= output.top[i - 1].logprob);
  }
  CHECK_NEAR(output.logprob, static_cast<double>(logits[static_cast<size_t>(output.token)]) - std::log(total), 1e-5);
  CHECK(output.token != p.banned[0]);
}

TEST(values_out_of_range_are_refused_with_their_name) {
  const auto refused = [](auto change, const char* word) {
    SamplingParams p;
    change(p);
    const Status status = CheckSampling(p, std::vector<uint32_t>{1, 99}, 10);
    CHECK(status.code() == Code::kInvalidArgument);
    CHECK(status.message().find(word) != std::string::npos);
  };
  refused([](auto& p) { p.temperature = -1.f; }, "temperature");
  refused([](auto& p) { p.temperature = std::nanf(""); }, "temperature");
  refused([](auto& p) { p.top_p = 0.f; }, "top_p");
  refused([](auto& p) { p.min_p = 1.5f; }, "min_p");
  refused([](auto& p) { p.repetition_penalty = 0.f; }, "repetition_penalty");
  refused([](auto& p) { p.presence_penalty = std::numeric_limits<float>::infinity(); }, "presence_penalty");
  refused([](auto& p) { p.top_logprobs = 21; }, "top_logprobs");
  refused([](auto& p) { p.logit_bias = {{10, 1.f}}; }, "logit_bias");
  refused([](auto& p) { p.banned = {10}; }, "banned");
  refused([](auto& p) { p.frequency_penalty = 1.f; }, "history");
}

TEST(impossible_requests_and_broken_logits_are_errors) {
  SamplingParams p;
  p.banned = {0, 1};
  StepOutput output;
  CHECK(Sample(std::vector<float>{1.f, 2.f}, p, {}, 0, &output).code() == Code::kInvalidArgument);
  p.temperature = 1.f;
  CHECK(Sample(std::vector<float>{1.f, 2.f}, p, {}, 0, &output).code() == Code::kInvalidArgument);
  CHECK(Sample(std::vector<float>{1.f, std::nanf("")}, {}, {}, 0, &output).code() == Code::kInternal);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
