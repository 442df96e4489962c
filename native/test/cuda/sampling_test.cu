#include "kernels/cuda/linear/sampling.h"

#include <cmath>
#include <random>

#include "engine/sampler.h"
#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

// Random logits in steps of 1/4: many ties.
std::vector<float> Logits(int rows, int vocab, float spread) {
  static std::mt19937 random(std::random_device{}());
  std::normal_distribution<float> normal(0.f, spread);
  std::vector<float> out(size_t(rows) * vocab);
  for (float& v : out) v = std::round(4 * normal(random)) / 4;
  return out;
}

void CheckDraws(int vocab, float spread, const std::vector<RowSampling>& how) {
  const int rows = static_cast<int>(how.size());
  const std::vector<float> logits = Logits(rows, vocab, spread);
  const DeviceArray<float> dlogits(logits);
  const DeviceArray<RowSampling> dhow(how);
  DeviceArray<int32_t> tokens(rows);
  DeviceArray<float> logprobs(rows);
  REQUIRE_CUDA(LaunchSampling({dlogits.get(), dhow.get(), rows, vocab, tokens.get(), logprobs.get()}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<int32_t> got = tokens.Host();
  const std::vector<float> got_logprobs = logprobs.Host();
  for (int row = 0; row < rows; row++) {
    SamplingParams params;
    params.temperature = how[row].temperature, params.top_k = how[row].top_k, params.top_p = how[row].top_p, params.min_p = how[row].min_p;
    params.seed = how[row].seed, params.logprobs = true;
    StepOutput want;
    CHECK(Sample({logits.data() + size_t(row) * vocab, size_t(vocab)}, params, {}, how[row].position, &want).ok());
    CHECK_EQ(got[row], static_cast<int32_t>(want.token));
    CHECK(std::fabs(got_logprobs[row] - want.logprob) < 1e-5f * (1 + std::fabs(want.logprob)));
  }
}

std::vector<RowSampling> Rows(RowSampling one, int count) {
  std::vector<RowSampling> out;
  for (int i = 0; i < count; i++) {
    one.seed = one.seed * 6364136223846793005u + 1442695040888963407u;
    one.position = 17u + i;
    out.push_back(one);
  }
  return out;
}

TEST(sampling_takes_the_best_token_and_the_lower_of_equals) { CheckDraws(128256, 3, Rows({0, 1, 0, 0, 1, 0}, 4)); }
TEST(sampling_draws_what_the_host_draws) {
  for (const int vocab : {1, 7, 1000, 49152, 128256, 262144}) CheckDraws(vocab, 2, Rows({0.8f, 1, 0, 0, 11, 0}, 6));
}
TEST(sampling_filters_as_the_host_does) {
  for (const float spread : {0.5f, 3.f}) {
    CheckDraws(49152, spread, Rows({1, 1, 0, 40, 3, 0}, 8));
    CheckDraws(49152, spread, Rows({1, 0.9f, 0, 0, 5, 0}, 8));
    CheckDraws(49152, spread, Rows({1.3f, 1, 0.05f, 0, 7, 0}, 8));
    CheckDraws(128256, spread, Rows({0.7f, 0.95f, 0.01f, 1000, 9, 0}, 8));
    CheckDraws(3000, spread, Rows({2, 0.5f, 0, 1, 9, 0}, 3));
  }
}
TEST(sampling_says_when_there_is_nothing_to_draw) {
  std::vector<float> logits(2 * 100, -INFINITY);
  logits[150] = NAN;
  const DeviceArray<float> dlogits(logits);
  const DeviceArray<RowSampling> how(Rows({1, 1, 0, 0, 1, 0}, 2));
  DeviceArray<int32_t> tokens(std::vector<int32_t>{5, 5});
  REQUIRE_CUDA(LaunchSampling({dlogits.get(), how.get(), 2, 100, tokens.get(), nullptr}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  CHECK_EQ(tokens.Host()[0], -1);
  CHECK_EQ(tokens.Host()[1], -1);
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
