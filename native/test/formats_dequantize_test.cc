#include <cmath>
#include <cstring>

#include "engine/formats/dequantize.h"
#include "engine/formats/half.h"
#include "test/check.h"
#include "test/golden_files.h"

using namespace longshore;

namespace {

// Blocks and the numbers that ggml-org's numpy code reads from them: test/golden/make_quant_rows.py.
void CheckRowsOf(DType dtype) {
  const DTypeTraits& traits = TraitsOf(dtype);
  const std::string base = test::GoldenPath("quant/") + traits.name;
  const std::vector<uint8_t> blocks = test::ReadFileBytes(base + ".blocks"), bytes = test::ReadFileBytes(base + ".f32");
  const size_t n = bytes.size() / sizeof(float);
  REQUIRE(n >= 512 && RowBytes(dtype, n) == blocks.size());
  std::vector<float> expected(n), actual(n, NAN);
  std::memcpy(expected.data(), bytes.data(), bytes.size());
  DequantizeRow(dtype, blocks.data(), actual.data(), n);
  size_t different = 0;
  for (size_t i = 0; i < n; ++i) {
    if (actual[i] == expected[i]) continue;
    if (different++ == 0) test::Fail(__FILE__, __LINE__, std::string(traits.name) + " weight " + std::to_string(i) + ": " + test::Show(actual[i]) + " != " + test::Show(expected[i]));
  }
  CHECK_EQ(different, size_t{0});
}

}  // namespace

TEST(quantized_rows_equal_ggmls_bit_for_bit) {
  for (DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) CheckRowsOf(dtype);
}

TEST(every_f16_value_converts_exactly) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double sign = bits & 0x8000 ? -1.0 : 1.0;
    const float actual = F16ToF32(static_cast<uint16_t>(bits));
    if (exponent == 31) {
      CHECK(mantissa != 0 ? std::isnan(actual) : std::isinf(actual) && std::signbit(actual) == (sign < 0));
      continue;
    }
    const double expected = sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
    CHECK_EQ(static_cast<double>(actual), expected);
    CHECK_EQ(std::signbit(actual), std::signbit(expected));
  }
}

TEST(bf16_is_the_upper_half_of_f32) {
  CHECK_EQ(Bf16ToF32(0x3F80), 1.0f);
  CHECK_EQ(Bf16ToF32(0xC049), -3.140625f);
  CHECK(std::isinf(Bf16ToF32(0x7F80)));
}

TEST(float_rows_are_copied_or_widened) {
  const float floats[] = {1.5f, -0.f, 3e38f};
  float out[3];
  DequantizeRow(DType::kF32, reinterpret_cast<const uint8_t*>(floats), out, 3);
  CHECK(std::memcmp(out, floats, sizeof(out)) == 0);
  const uint16_t halves[] = {0x3C00, 0xC000, 0x0001};
  DequantizeRow(DType::kF16, reinterpret_cast<const uint8_t*>(halves), out, 3);
  CHECK_EQ(out[0], 1.f);
  CHECK_EQ(out[1], -2.f);
  CHECK_EQ(out[2], 0x1p-24f);
}

TEST(row_sizes_are_whole_blocks) {
  CHECK_EQ(RowBytes(DType::kQ4_1, 576), size_t{360});
  CHECK_EQ(RowBytes(DType::kQ6_K, 512), size_t{420});
  CHECK_EQ(RowBytes(DType::kBf16, 7), size_t{14});
  CHECK(FindDTypeTraits(4) == nullptr);
  CHECK(FindDTypeTraits(0xFFFFFFFF) == nullptr);
}

TEST_MAIN
