// Row-wise kernels against scalar twins.
#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/formats/half.h"
#include "kernels/kernels.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using namespace kernels;
using test::Random;
using test::Tables;

struct Quants {
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> sum32, sum16;
  QuantRows rows;
  explicit Quants(uint32_t k) : q(k), scale(k / 32), scaled_sum(k / 32), sum32(k / 32), sum16(k / 16) {
    rows = {q.data(), scale.data(), sum32.data(), sum16.data(), scaled_sum.data(), k};
  }
  void CheckSums() const {
    for (size_t g = 0; g < sum32.size(); ++g) {
      int32_t sum = 0;
      for (size_t i = 0; i < 32; ++i) sum += q[32 * g + i];
      CHECK_EQ(sum32[g], sum);
      CHECK_EQ(sum16[2 * g] + sum16[2 * g + 1], sum);
      CHECK_EQ(scaled_sum[g], scale[g] * static_cast<float>(sum));
    }
  }
};

TEST(quantization_by_32_is_q8_0_with_a_half_precision_scale) {
  Random random(11);
  for (const KernelTable* table : Tables())
    for (int round = 0; round < 50; ++round) {
      std::vector<float> x = random.Units(64, std::exp2(static_cast<float>(random.Below(30)) - 20.f));
      if (round == 0) x.assign(64, 0.f);
      Quants y(64);
      table->quantize_32(x.data(), 0, &y.rows);
      y.CheckSums();
      for (int g = 0; g < 2; ++g) {
        float most = 0;
        for (int i = 0; i < 32; ++i) most = std::max(most, std::fabs(x[32 * g + i]));
        // The nearest half: no other half is closer.
        const float d = most / 127.f, step = std::max(std::exp2(std::floor(std::log2(std::max(d, 1e-30f))) - 10.f), 0x1p-24f);
        CHECK(std::fabs(y.scale[g] - d) <= step / 2);
        CHECK_EQ(std::fmod(y.scale[g], step), 0.f);
        for (int i = 0; i < 32; ++i)
          CHECK_EQ(int{y.q[32 * g + i]}, most > 0 ? static_cast<int>(std::nearbyint(x[32 * g + i] * (127.f / most))) : 0);
      }
    }
}

TEST(quantization_by_256_gives_the_extreme_value_minus_127) {
  Random random(12);
  for (const KernelTable* table : Tables())
    for (int round = 0; round < 20; ++round) {
      std::vector<float> x = random.Units(512, 3.f);
      if (round == 0) x.assign(512, 0.f);
      Quants y(512);
      table->quantize_256(x.data(), 0, &y.rows);
      y.CheckSums();
      for (int b = 0; b < 2; ++b) {
        float extreme = 0;
        for (int i = 0; i < 256; ++i)
          if (std::fabs(x[256 * b + i]) > std::fabs(extreme)) extreme = x[256 * b + i];
        const float inverse = extreme != 0 ? -127.f / extreme : 0.f;
        for (int g = 0; g < 8; ++g) CHECK_EQ(y.scale[8 * b + g], extreme != 0 ? 1 / inverse : 0.f);
        for (int i = 0; i < 256; ++i) CHECK_EQ(int{y.q[256 * b + i]}, static_cast<int>(std::nearbyint(x[256 * b + i] * inverse)));
      }
    }
}

TEST(rms_norm_gates_and_rotation_equal_their_formulas) {
  Random random(13);
  for (const KernelTable* table : Tables())
    for (const uint32_t n : {8u, 16u, 64u, 100u, 576u}) {
      const std::vector<float> x = random.Units(n, 3.f), w = random.Units(n);
      std::vector<float> out(n);
      double sum = 0;
      for (float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
      table->rms_norm(x.data(), w.data(), n, 1e-5f, out.data());
      for (uint32_t i = 0; i < n; ++i)
        CHECK_NEAR(out[i], static_cast<double>(x[i]) / std::sqrt(sum / n + 1e-5) * static_cast<double>(w[i]), 1e-6);
      if (n % 16 == 0) {
        const std::vector<float> gate = random.Units(n, 30.f);
        table->swiglu(gate.data(), w.data(), n, out.data());
        for (uint32_t i = 0; i < n; ++i) {
          const double g = static_cast<double>(gate[i]);
          CHECK_NEAR(out[i], g / (1 + std::exp(-g)) * static_cast<double>(w[i]), 1e-6 * (1 + std::fabs(g)));
        }
        table->geglu(gate.data(), w.data(), n, out.data());
        for (uint32_t i = 0; i < n; ++i) {
          const double g = static_cast<double>(gate[i]), tanh = std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g));
          CHECK_NEAR(out[i], g / 2 * (1 + tanh) * static_cast<double>(w[i]), 1e-6 * (1 + std::fabs(g)));
        }
      }
      std::vector<float> head = x, cos(n / 2), sin(n / 2);
      for (uint32_t i = 0; i < n / 2; ++i) {
        cos[i] = std::cos(static_cast<float>(i));
        sin[i] = std::sin(static_cast<float>(i));
      }
      table->rotate(head.data(), cos.data(), sin.data(), n / 2);
      for (uint32_t i = 0; i < n / 2; ++i) {
        CHECK_NEAR(head[i], x[i] * cos[i] - x[n / 2 + i] * sin[i], 1e-6);
        CHECK_NEAR(head[n / 2 + i], x[n / 2 + i] * cos[i] + x[i] * sin[i], 1e-6);
      }
    }
}

TEST(merging_an_empty_part_changes_nothing_and_order_is_left_to_right) {
  for (const KernelTable* table : Tables()) {
    const float none = -std::numeric_limits<float>::infinity();
    std::vector<float> m = {1.f}, l = {2.f}, o(16, 3.f);
    const std::vector<float> m0 = {none}, l0 = {0.f}, o0(16, 0.f);
    table->merge(m.data(), l.data(), o.data(), m0.data(), l0.data(), o0.data(), 1, 16);
    CHECK_EQ(m[0], 1.f);
    CHECK_EQ(l[0], 2.f);
    CHECK_EQ(o[7], 3.f);
    const std::vector<float> m2 = {3.f}, l2 = {1.f}, o2(16, 5.f);
    table->merge(m.data(), l.data(), o.data(), m2.data(), l2.data(), o2.data(), 1, 16);
    CHECK_EQ(m[0], 3.f);
    CHECK_NEAR(l[0], 2 * 0.25 + 1, 1e-6);
    CHECK_NEAR(o[7], 3 * 0.25 + 5, 1e-6);
  }
}

TEST(bf16_rounds_half_to_even) {
  Random random(14);
  for (const KernelTable* table : Tables()) {
    std::vector<float> x = random.Units(64, 100.f);
    const uint32_t tie = 0x3f808000, odd_tie = 0x3f818000;
    std::memcpy(&x[0], &tie, 4);
    std::memcpy(&x[1], &odd_tie, 4);
    std::vector<uint16_t> out(64);
    table->to_bf16(x.data(), 64, out.data());
    CHECK_EQ(out[0], 0x3f80);
    CHECK_EQ(out[1], 0x3f82);
    for (int i = 0; i < 64; ++i) CHECK_EQ(out[i], test::ToBf16(x[i]));
  }
}

// When this fails after a change to a kernel, its results have changed: raise kNumerics in cpu_engine.cc and set the new hash
// in vector_*.h. When it fails on another machine without a change, that machine's engine names other numerics, as it should.
TEST(kernels_give_the_bits_that_the_numerics_version_promises) {
  for (const KernelTable* table : Tables()) {
    CHECK_EQ(table->fingerprint(), table->fingerprint());
    if (table->fingerprint() != table->known_fingerprint) std::printf("     %s: 0x%08x\n", table->isa, table->fingerprint());
    if (std::string(table->isa) != "avx512") CHECK_EQ(table->fingerprint(), table->known_fingerprint);
  }
}

TEST(an_unknown_instruction_set_is_refused) {
  CHECK(SelectKernels("sse9") == nullptr);
  REQUIRE(SelectKernels("auto") != nullptr);
  CHECK(SelectKernels("portable") != nullptr);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
