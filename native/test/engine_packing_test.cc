// Packed weights against the row dequantizer: the same values, to the last bit of scale and integer.
#include "engine/formats/dequantize.h"
#include "engine/formats/half.h"
#include "engine/packed_matrix.h"
#include "engine/quant_packing.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using test::Random;

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// A row of random blocks with sane half-precision scales.
std::vector<uint8_t> RandomRow(Random& random, DType type, uint32_t k) {
  std::vector<uint8_t> row(RowBytes(type, k));
  for (uint8_t& b : row) b = static_cast<uint8_t>(random.Below(256));
  const uint32_t size = TraitsOf(type).block_bytes;
  for (size_t at = 0; at < row.size(); at += size) {
    const uint16_t d = test::ToF16(0.01f + 0.005f * random.Unit()), m = test::ToF16(0.02f + 0.01f * random.Unit());
    std::memcpy(row.data() + at + (type == DType::kQ6_K ? 208 : 0), &d, 2);
    if (type == DType::kQ4_1 || type == DType::kQ5_1 || type == DType::kQ4_K || type == DType::kQ5_K) std::memcpy(row.data() + at + 2, &m, 2);
  }
  return row;
}

TEST(packed_weights_equal_the_dequantized_row) {
  Random random(21);
  for (const DType type : kTypes)
    for (const uint32_t k : {256u, 768u}) {
      const kernels::QuantFormat f = QuantFormatOf(type);
      std::vector<uint8_t> panel(k / f.group * f.group_bytes());
      for (uint32_t lane = 0; lane < 16; ++lane) {
        const std::vector<uint8_t> row = RandomRow(random, type, k);
        std::vector<float> expected(k);
        DequantizeRow(type, row.data(), expected.data(), k);
        PackQuantRow(type, row.data(), k, lane, panel.data());
        for (uint32_t i = 0; i < k; ++i) CHECK_EQ(test::PackedWeight(f, panel.data(), lane, i), expected[i]);
      }
    }
}

Tensor MakeTensor(DType type, uint32_t rows, uint32_t k, const std::vector<uint8_t>& bytes) {
  return {"w", type, {rows, k}, bytes.data(), bytes.size()};
}

// Multiplying by unit vectors reads the matrix back.
TEST(a_packed_matrix_and_its_exact_twin_hold_the_same_weights_in_the_same_order) {
  Random random(22);
  ThreadPool pool(2);
  const kernels::KernelTable* table = kernels::SelectKernels("auto");
  const uint32_t k = 256, rows = 56;  // seven heads of 8: not a whole number of panels
  for (const DType type : {DType::kQ4_1, DType::kQ6_K, DType::kQ8_0, DType::kF32, DType::kF16, DType::kBf16}) {
    std::vector<uint8_t> bytes;
    for (uint32_t r = 0; r < rows; ++r) {
      std::vector<uint8_t> row;
      if (IsQuantized(type)) {
        row = RandomRow(random, type, k);
      } else {
        for (uint32_t i = 0; i < k; ++i) {
          const float x = random.Unit() + 1.5f;
          const uint16_t half = type == DType::kF16 ? test::ToF16(x) : test::ToBf16(x);
          const uint8_t* p = type == DType::kF32 ? reinterpret_cast<const uint8_t*>(&x) : reinterpret_cast<const uint8_t*>(&half);
          row.insert(row.end(), p, p + TraitsOf(type).block_bytes);
        }
      }
      bytes.insert(bytes.end(), row.begin(), row.end());
    }
    const Tensor tensor = MakeTensor(type, rows, k, bytes);
    for (const RowOrder order : {RowOrder::kAsStored, RowOrder::kUninterleave}) {
      PackedMatrix packed, exact;
      CHECK_OK(packed.Pack(tensor, nullptr, {.order = order, .head_dim = 8, .rope_dims = 6}, pool));
      CHECK_OK(exact.Pack(tensor, nullptr, {.order = order, .head_dim = 8, .rope_dims = 6, .exact = true}, pool));
      Activations x;
      CHECK_OK(x.Allocate(k, k, "test"));
      x.Shape(k);
      for (uint32_t i = 0; i < k; ++i) {
        std::fill_n(x.row(i), k, 0.f);
        x.row(i)[i] = 127.f;  // its quantized form is exact: scale 1
        x.Quantize(*table, packed.activation(), i);
      }
      std::vector<float> a(k * 64), b(k * 64), buffers[2];
      for (auto& s : buffers) s.resize(exact.scratch_floats());
      float* const scratch[] = {buffers[0].data(), buffers[1].data()};
      const Product pa[] = {{&packed, &x, a.data(), 64}}, pb[] = {{&exact, &x, b.data(), 64}};
      RunProducts(pool, *table, pa, k, scratch, nullptr);
      RunProducts(pool, *table, pb, k, scratch, nullptr);
      std::vector<float> row(k);
      for (uint32_t n = 0; n < rows; ++n) {
        const uint32_t i = n % 8, source = order == RowOrder::kAsStored || i >= 6 ? n : n - i + (i < 3 ? 2 * i : 2 * (i - 3) + 1);
        DequantizeRow(type, tensor.row(source), row.data(), k);
        for (uint32_t c = 0; c < k; ++c) {
          CHECK_NEAR(a[c * 64 + n], row[c] * 127.f, 1e-5 * std::fabs(row[c] * 127.f) + 1e-5);
          CHECK_EQ(b[c * 64 + n], row[c] * 127.f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
