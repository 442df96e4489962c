// RoPE's angles against the C library's long double functions, and its frequency scalings against hand-made values.
#include <cmath>

#include "engine/rope.h"
#include "test/check.h"

namespace longshore {
namespace {

Hyperparameters Plain(double theta, uint32_t dims) {
  Hyperparameters h;
  h.rope_theta = theta;
  h.rope_dims = h.head_dim = dims;
  return h;
}

TEST(angles_are_right_to_the_last_place_of_f32_up_to_a_million_positions) {
  for (const double theta : {10000.0, 100000.0, 1e12}) {
    const Rope rope(Plain(theta, 64), {});
    REQUIRE(rope.half() == 32);
    float cos[32], sin[32];
    for (uint32_t position : {0u, 1u, 2u, 127u, 8191u, 131071u, 777777u, 1048575u}) {
      rope.Angles(position, cos, sin);
      for (uint32_t i = 0; i < 32; ++i) {
        const long double angle = static_cast<float>(position) * rope.frequencies()[i];
        CHECK_NEAR(cos[i], std::cos(angle), 6e-8);
        CHECK_NEAR(sin[i], std::sin(angle), 6e-8);
      }
    }
  }
}

TEST(frequencies_fall_geometrically_and_divisors_divide_them) {
  const std::vector<float> divisors = {1.f, 2.f, 4.f, 8.f};
  const Rope plain(Plain(10000.0, 8), {}), divided(Plain(10000.0, 8), divisors);
  const double expected[] = {1.0, 0.1, 0.01, 0.001};
  for (int i = 0; i < 4; ++i) {
    CHECK_NEAR(plain.frequencies()[i], expected[i], 1e-7 * expected[i]);
    CHECK_EQ(divided.frequencies()[i], plain.frequencies()[i] / divisors[i]);
  }
}

TEST(linear_scaling_divides_all_and_llama3_only_the_slow_ones) {
  Hyperparameters h = Plain(10000.0, 8);
  h.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
  CHECK_NEAR(Rope(h, {}).frequencies()[1], 0.025, 1e-8);
  // Over 1,000 tokens channel 0 turns 159 times (kept), channel 1 16 times (kept), channel 2 1.59 times (blended), channel 3 0.16 times.
  h.rope_scaling = {.kind = RopeScalingKind::kLlama3, .factor = 8, .original_context = 1000, .low_freq_factor = 1, .high_freq_factor = 4};
  const Rope llama3(h, {});
  CHECK_NEAR(llama3.frequencies()[0], 1.0, 1e-7);
  CHECK_NEAR(llama3.frequencies()[1], 0.1, 1e-8);
  const double smooth = (1000 * 0.01 / (2 * 3.14159265358979) - 1) / 3;
  CHECK_NEAR(llama3.frequencies()[2], (1 - smooth) * 0.01 / 8 + smooth * 0.01, 1e-9);
  CHECK_NEAR(llama3.frequencies()[3], 0.001 / 8, 1e-10);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
