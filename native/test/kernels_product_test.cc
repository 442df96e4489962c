// Products with packed weights against the obvious loops in double, over random shapes, on every instruction set of this machine.
#include "kernels/kernels.h"

#include <cstring>
#include <memory>

#include "engine/formats/half.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using namespace kernels;
using test::Random;
using test::Tables;

constexpr QuantFormat kFormats[] = {{4, 32, 2, false, 8}, {4, 32, 2, true, 0},  {7, 32, 2, false, 16}, {7, 32, 2, true, 0},
                                    {8, 32, 2, false, 128}, {4, 32, 4, true, 0}, {7, 32, 4, true, 0},  {7, 16, 4, false, 32}};

struct QuantCase {
  QuantFormat format;
  uint32_t k, panels, rows;
  std::vector<uint8_t> weights;
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> sum32, sum16;
  QuantRows x{};

  QuantCase(Random& random, const QuantFormat& f, uint32_t k_in, uint32_t panels_in, uint32_t rows_in)
      : format(f), k(k_in), panels(panels_in), rows(rows_in), weights(panels * size_t{k} / f.group * f.group_bytes()), q(rows * k),
        scale(rows * k / 32), scaled_sum(rows * k / 32), sum32(rows * k / 32), sum16(rows * k / 16) {
    for (size_t g = 0; g < panels * k / f.group; ++g) {
      uint8_t* group = weights.data() + g * f.group_bytes();
      for (uint32_t lane = 0; lane < 16; ++lane) {
        for (uint32_t i = 0; i < f.group; ++i) PutQuant(f, group, lane, i, static_cast<uint8_t>(random.Below(1u << f.bits)));
        uint8_t* scales = group + f.quant_bytes();
        for (uint32_t which = 0; which < (f.has_minimum ? 2u : 1u); ++which) {
          const float value = 0.01f + 0.01f * random.Unit() * 0.9f;
          const uint16_t half = test::ToF16(value);
          std::memcpy(scales + (which * 16 + lane) * f.scale_bytes, f.scale_bytes == 4 ? static_cast<const void*>(&value) : &half, f.scale_bytes);
        }
      }
    }
    for (int8_t& v : q) v = static_cast<int8_t>(static_cast<int>(random.Below(255)) - 127);
    for (float& s : scale) s = 0.02f + 0.015f * random.Unit();
    for (size_t i = 0; i < q.size(); ++i) {
      sum32[i / 32] += q[i];
      sum16[i / 16] += q[i];
    }
    for (size_t i = 0; i < scale.size(); ++i) scaled_sum[i] = scale[i] * static_cast<float>(sum32[i]);
    x = {q.data(), scale.data(), sum32.data(), sum16.data(), scaled_sum.data(), k};
  }

  double Weight(uint32_t n, uint32_t i) const {
    return static_cast<double>(test::PackedWeight(format, weights.data() + n / 16 * (weights.size() / panels), n % 16, i));
  }

  // Also the sum of magnitudes, the yardstick of rounding errors.
  double Expected(uint32_t row, uint32_t n, double* magnitude) const {
    double sum = 0;
    *magnitude = 0;
    for (uint32_t i = 0; i < k; ++i) {
      const double product = Weight(n, i) * q[row * k + i] * static_cast<double>(scale[row * (k / 32) + i / 32]);
      sum += product;
      *magnitude += std::fabs(product);
    }
    return sum;
  }
};

TEST(quantized_products_equal_the_sum_in_double) {
  Random random(1);
  for (const KernelTable* table : Tables())
    for (const QuantFormat& format : kFormats)
      for (int round = 0; round < 6; ++round) {
        const QuantCase c(random, format, 32 * (1 + random.Below(12)), 1 + random.Below(5), 1 + random.Below(30));
        const std::vector<float> bias = random.Units(16 * c.panels), before = random.Units(c.rows * 16 * c.panels);
        std::vector<float> out = before;
        const bool with_bias = random.Below(2), accumulate = random.Below(2);
        table->multiply_quantized({format, c.weights.data(), c.weights.size() / c.panels, c.panels, &c.x, 0, c.rows,
                                   with_bias ? bias.data() : nullptr, out.data(), 16 * c.panels, accumulate});
        for (uint32_t r = 0; r < c.rows; ++r)
          for (uint32_t n = 0; n < 16 * c.panels; ++n) {
            double magnitude;
            double expected = c.Expected(r, n, &magnitude);
            if (with_bias) expected += static_cast<double>(bias[n]);
            const size_t at = r * 16 * c.panels + n;
            if (accumulate) expected += static_cast<double>(before[at]);
            CHECK_NEAR(out[at], expected, 2e-6 * (magnitude + 2));
          }
      }
}

TEST(a_row_of_a_quantized_product_has_the_same_bits_alone_and_in_any_batch) {
  Random random(2);
  for (const KernelTable* table : Tables())
    for (const QuantFormat& format : kFormats) {
      const QuantCase c(random, format, 32 * 9, 3, 29);
      std::vector<float> all(29 * 48), one(48);
      const size_t panel_bytes = c.weights.size() / c.panels;
      table->multiply_quantized({format, c.weights.data(), panel_bytes, 3, &c.x, 0, 29, nullptr, all.data(), 48, false});
      for (uint32_t r = 0; r < 29; ++r) {
        table->multiply_quantized({format, c.weights.data(), panel_bytes, 3, &c.x, r, 1, nullptr, one.data(), 48, false});
        CHECK(std::memcmp(one.data(), all.data() + r * 48, sizeof(float) * 48) == 0);
      }
    }
}

TEST(float_products_equal_the_sum_in_double_and_do_not_depend_on_the_batch) {
  Random random(3);
  for (const KernelTable* table : Tables())
    for (const FloatType type : {FloatType::kF32, FloatType::kF16, FloatType::kBf16})
      for (int round = 0; round < 6; ++round) {
        const uint32_t k = 1 + random.Below(90), panels = 1 + random.Below(9), rows = 1 + random.Below(20);
        const size_t size = type == FloatType::kF32 ? 4 : 2;
        std::vector<float> w(size_t{panels} * k * 16);
        std::vector<uint8_t> packed(w.size() * size);
        for (size_t i = 0; i < w.size(); ++i) {
          w[i] = random.Unit() + (random.Below(2) ? 1.5f : -1.5f);
          const uint16_t half = type == FloatType::kF16 ? test::ToF16(w[i]) : test::ToBf16(w[i]);
          if (type == FloatType::kF16) w[i] = F16ToF32(half);
          if (type == FloatType::kBf16) w[i] = test::FromBf16(half);
          std::memcpy(packed.data() + i * size, size == 4 ? static_cast<const void*>(&w[i]) : &half, size);
        }
        const std::vector<float> x = random.Units(rows * k);
        std::vector<float> out(rows * 16 * panels), one(16 * panels);
        const size_t panel_bytes = packed.size() / panels;
        table->multiply_float({type, packed.data(), panel_bytes, panels, k, x.data(), k, rows, nullptr, out.data(), 16 * panels, false});
        for (uint32_t r = 0; r < rows; ++r) {
          for (uint32_t n = 0; n < 16 * panels; ++n) {
            double expected = 0;
            for (uint32_t i = 0; i < k; ++i)
              expected += static_cast<double>(x[r * k + i]) * static_cast<double>(w[(n / 16 * k + i) * 16 + n % 16]);
            CHECK_NEAR(out[r * 16 * panels + n], expected, 2e-5);
          }
          table->multiply_float({type, packed.data(), panel_bytes, panels, k, x.data() + r * k, k, 1, nullptr, one.data(), 16 * panels, false});
          CHECK(std::memcmp(one.data(), out.data() + r * 16 * panels, sizeof(float) * 16 * panels) == 0);
        }
      }
}

TEST(nibbles_and_bytes_come_back_from_a_panel_as_they_were_put) {
  Random random(4);
  for (const QuantFormat& f : kFormats) {
    std::vector<uint8_t> group(f.group_bytes()), expected(16 * f.group);
    for (uint32_t lane = 0; lane < 16; ++lane)
      for (uint32_t k = 0; k < f.group; ++k)
        PutQuant(f, group.data(), lane, k, expected[lane * f.group + k] = static_cast<uint8_t>(random.Below(1u << f.bits)));
    for (uint32_t lane = 0; lane < 16; ++lane)
      for (uint32_t k = 0; k < f.group; ++k) CHECK_EQ(int{GetQuant(f, group.data(), lane, k)}, int{expected[lane * f.group + k]});
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
