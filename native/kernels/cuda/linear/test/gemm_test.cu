#include "kernels/cuda/linear/gemm.h"

#include <cmath>
#include <random>
#include <utility>

#include "kernels/cuda/linear/quantize_rows.h"
#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

std::vector<bf16> Normals(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<bf16> out(count);
  for (bf16& v : out) v = __float2bfloat16(normal(random));
  return out;
}

// ||kernel - f64 product of the same bf16 operands|| / ||product||.
double ErrorOf(GemmInput input, bool out_f32, bool add, int32_t m, int32_t n, int32_t k) {
  std::mt19937 random(std::random_device{}());
  const std::vector<bf16> x = Normals(static_cast<size_t>(m) * k, random), w = Normals(static_cast<size_t>(n) * k, random),
                          before = Normals(static_cast<size_t>(m) * n, random);
  const DeviceArray<bf16> dx(x), dw(w);
  DeviceArray<bf16> out(before);
  DeviceArray<float> out32(static_cast<size_t>(m) * n), x_scales(m), w_scales(n);
  DeviceArray<fp8> x8(x.size()), w8(w.size());
  REQUIRE_CUDA(LaunchQuantizeRows({dx.get(), x8.get(), x_scales.get(), m, k}, nullptr));
  REQUIRE_CUDA(LaunchQuantizeRows({dw.get(), w8.get(), w_scales.get(), n, k}, nullptr));
  DeviceArray<uint8_t> workspace(Gemm::kWorkspaceBytes);
  std::string why;
  const std::unique_ptr<Gemm> gemm = Gemm::Open(workspace.get(), &why);
  CHECK_EQ(why, std::string());
  if (gemm == nullptr) return NAN;
  const bool eight = input == GemmInput::kFp8;
  const GemmProduct product = {input, eight ? static_cast<const void*>(x8.get()) : dx.get(), eight ? static_cast<const void*>(w8.get()) : dw.get(),
                               x_scales.get(), w_scales.get(), out_f32 ? static_cast<void*>(out32.get()) : out.get(), out_f32, add, m, n, k};
  REQUIRE_CUDA(gemm->Run(product, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<bf16> host = out.Host();
  const std::vector<float> host32 = out32.Host();
  double difference = 0, norm = 0;
  for (int32_t i = 0; i < m; i++) {
    for (int32_t j = 0; j < n; j++) {
      double want = add ? __bfloat162float(before[static_cast<size_t>(i) * n + j]) : 0;
      for (int32_t l = 0; l < k; l++) want += double{__bfloat162float(x[static_cast<size_t>(i) * k + l])} * __bfloat162float(w[static_cast<size_t>(j) * k + l]);
      const double got = out_f32 ? host32[static_cast<size_t>(i) * n + j] : __bfloat162float(host[static_cast<size_t>(i) * n + j]);
      difference += (got - want) * (got - want);
      norm += want * want;
    }
  }
  return std::sqrt(difference / norm);
}

TEST(gemm_equals_the_f64_product_for_any_number_of_rows) {
  for (const int32_t m : {1, 2, 7, 64, 65, 200}) CHECK(ErrorOf(GemmInput::kBf16, false, false, m, 264, 512) < 3e-3);
}
TEST(gemm_writes_f32_logits) { CHECK(ErrorOf(GemmInput::kBf16, true, false, 5, 1000, 576) < 1e-5); }
TEST(gemm_adds_to_what_is_there_once) {
  for (const int32_t m : {3, 130}) CHECK(ErrorOf(GemmInput::kBf16, false, true, m, 256, 320) < 3e-3);
}
// Two operands rounded to three mantissa bits: 2.6e-2 each in the mean square, so 3.7e-2.
TEST(gemm_in_fp8_errs_as_its_operands_do) {
  for (const int32_t m : {1, 16, 130}) {
    for (const bool add : {false, true}) {
      const double error = ErrorOf(GemmInput::kFp8, false, add, m, 256, 1024);
      std::printf("  m %d add %d: %.2e\n", m, add, error);
      CHECK(error < 4.5e-2);
    }
  }
}
// The class's plan is chosen for its smallest product here, the one that splits k most and so needs the most workspace for each row.
TEST(gemm_serves_the_largest_product_of_a_class_with_the_smallest_ones_plan) {
  DeviceArray<uint8_t> workspace(Gemm::kWorkspaceBytes);
  const std::unique_ptr<Gemm> gemm = Gemm::Open(workspace.get(), nullptr);
  CHECK(gemm != nullptr);
  if (gemm == nullptr) return;
  constexpr int32_t kMost = 2048, n = 4096, k = 14336;
  DeviceArray<bf16> x(size_t{kMost} * k), w(size_t{n} * k), out(size_t{kMost} * n);
  x.Zero(), w.Zero();
  for (const auto& [first, last] : {std::pair{65, 128}, {129, 256}, {257, 512}, {513, 1024}, {1025, 2048}}) {
    for (const int32_t m : {first, last}) {
      GemmProduct product = {};
      product.x = x.get(), product.weight = w.get(), product.out = out.get();
      product.m = m, product.n = n, product.k = k;
      CHECK_EQ(gemm->Run(product, nullptr), cudaSuccess);
    }
    REQUIRE_CUDA(cudaDeviceSynchronize());
    CHECK_EQ(__bfloat162float(out.Host()[size_t(last) * n - 1]), 0.f);  // written
    out.Poison();
  }
}
TEST(gemm_refuses_odd_shapes_in_words) {
  DeviceArray<uint8_t> workspace(Gemm::kWorkspaceBytes);
  std::string why;
  const std::unique_ptr<Gemm> gemm = Gemm::Open(workspace.get(), &why);
  CHECK(gemm != nullptr);
  if (gemm == nullptr) return;
  GemmProduct product = {};
  product.m = 1, product.n = 12, product.k = 64;
  CHECK_EQ(gemm->Run(product, nullptr), cudaErrorInvalidValue);
  CHECK(!gemm->error().empty());
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
