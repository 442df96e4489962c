#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/linear/embed.h"
#include "kernels/cuda/linear/gated_activation.h"
#include "kernels/cuda/linear/quantize_rows.h"
#include "kernels/cuda/linear/rms_norm.h"
#include "kernels/cuda/linear/rotary.h"
#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

std::mt19937& Random() {
  static std::mt19937 random(std::random_device{}());
  return random;
}

std::vector<bf16> Normals(size_t count) {
  std::normal_distribution<float> normal;
  std::vector<bf16> out(count);
  for (bf16& v : out) v = __float2bfloat16(normal(Random()));
  return out;
}

std::vector<float> Around(size_t count, float middle) {
  std::normal_distribution<float> normal(middle, 0.2f);
  std::vector<float> out(count);
  for (float& v : out) v = normal(Random());
  return out;
}

float At(const std::vector<bf16>& x, size_t i) { return __bfloat162float(x[i]); }

double Error(const std::vector<bf16>& got, const std::vector<double>& want) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); i++) {
    difference += (At(got, i) - want[i]) * (At(got, i) - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(difference / norm);
}

// A row's fp8 values times its scale against what they stand for, relative to the row's largest.
double QuantizedError(const std::vector<fp8>& got, const std::vector<float>& scales, const std::vector<double>& want, size_t n) {
  double worst = 0;
  for (size_t row = 0; row < scales.size(); row++) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = std::max(most, std::fabs(want[row * n + i]));
    for (size_t i = 0; i < n; i++) worst = std::max(worst, std::fabs(static_cast<float>(got[row * n + i]) * scales[row] - want[row * n + i]) / most);
  }
  return worst;
}
// Half a step of e4m3 in its highest octave (1/16 of 256/448), and bf16's rounding before it.
constexpr double kFp8Error = 0.5 * 32 / 448 + 5e-3;

void CheckNorm(int32_t rows, int32_t n, bool add, bool residual) {
  const std::vector<bf16> x = Normals(size_t(rows) * n), delta = Normals(x.size()), after = Normals(x.size());
  const std::vector<float> weight = Around(n, 1);
  const DeviceArray<bf16> dx(x), ddelta(delta), dafter(after);
  const DeviceArray<float> dweight(weight);
  DeviceArray<bf16> sum(x.size()), out(x.size());
  DeviceArray<fp8> quantized(x.size());
  DeviceArray<float> scales(rows);
  REQUIRE_CUDA(LaunchRmsNorm({dx.get(), add ? ddelta.get() : nullptr, add ? sum.get() : nullptr, dweight.get(), 1e-5f, residual ? dafter.get() : nullptr, out.get(),
                              quantized.get(), scales.get(), rows, n}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<bf16> got_sum = sum.Host();
  std::vector<double> want(x.size());
  for (int32_t row = 0; row < rows; row++) {
    double squares = 0;
    for (int32_t i = 0; i < n; i++) {
      const size_t at = size_t(row) * n + i;
      const float y = add ? __bfloat162float(__float2bfloat16(At(x, at) + At(delta, at))) : At(x, at);
      if (add) CHECK_EQ(At(got_sum, at), y);
      want[at] = y;
      squares += double{y} * y;
    }
    for (int32_t i = 0; i < n; i++) {
      const size_t at = size_t(row) * n + i;
      want[at] = want[at] / std::sqrt(squares / n + 1e-5) * weight[i] + (residual ? At(after, at) : 0);
    }
  }
  CHECK(Error(out.Host(), want) < 3e-3);
  CHECK(QuantizedError(quantized.Host(), scales.Host(), want, n) < kFp8Error);
}

TEST(rms_norm_equals_its_twin) {
  CheckNorm(3, 4096, false, false);
  CheckNorm(5, 576, true, false);
  CheckNorm(2, 16384, true, true);
  CheckNorm(1, 8, false, true);
}

void CheckSplit(int32_t rows, int32_t heads, int32_t kv_heads, int32_t d, int32_t rope_dims, bool bias, bool norm) {
  const int32_t all = heads + 2 * kv_heads, half = rope_dims / 2;
  const std::vector<bf16> qkv = Normals(size_t(rows) * all * d), b = Normals(size_t(all) * d);
  const std::vector<float> q_norm = Around(d, 1), k_norm = Around(d, 1);
  std::vector<int32_t> positions;
  std::vector<float> frequencies;
  for (int32_t row = 0; row < rows; row++) positions.push_back(row * 40009);
  for (int32_t i = 0; i < half; i++) frequencies.push_back(static_cast<float>(std::pow(5e5, -2.0 * i / rope_dims)));
  const DeviceArray<bf16> dqkv(qkv), dbias(b);
  const DeviceArray<float> dq_norm(q_norm), dk_norm(k_norm), dfrequencies(frequencies);
  const DeviceArray<int32_t> dpositions(positions);
  DeviceArray<float> cos(size_t(rows) * half), sin(size_t(rows) * half);
  DeviceArray<bf16> q(size_t(rows) * heads * d), k(size_t(rows) * kv_heads * d), v(k.count());
  REQUIRE_CUDA(LaunchRotaryAngles({dpositions.get(), dfrequencies.get(), cos.get(), sin.get(), rows, half, 1.5}, nullptr));
  REQUIRE_CUDA(LaunchSplitQkv({dqkv.get(), bias ? dbias.get() : nullptr, norm ? dq_norm.get() : nullptr, norm ? dk_norm.get() : nullptr, 1e-6f, cos.get(), sin.get(), rope_dims,
                               rows, heads, kv_heads, d, q.get(), k.get(), v.get()}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  std::vector<double> want[3];
  for (int32_t row = 0; row < rows; row++) {
    for (int32_t head = 0; head < all; head++) {
      const int part = head < heads ? 0 : head < heads + kv_heads ? 1 : 2;
      std::vector<double> x(d);
      double squares = 0;
      for (int32_t i = 0; i < d; i++) {
        x[i] = At(qkv, (size_t(row) * all + head) * d + i) + (bias ? At(b, size_t(head) * d + i) : 0);
        squares += x[i] * x[i];
      }
      if (norm && part < 2) {
        for (int32_t i = 0; i < d; i++) x[i] *= (part == 0 ? q_norm : k_norm)[i] / std::sqrt(squares / d + 1e-6);
      }
      for (int32_t i = 0; i < half && part < 2; i++) {
        const double angle = double{static_cast<float>(positions[row]) * frequencies[i]}, c = 1.5 * std::cos(angle), s = 1.5 * std::sin(angle);
        const double low = x[i], high = x[i + half];
        x[i] = low * c - high * s, x[i + half] = high * c + low * s;
      }
      want[part].insert(want[part].end(), x.begin(), x.end());
    }
  }
  CHECK(Error(q.Host(), want[0]) < 3e-3);
  CHECK(Error(k.Host(), want[1]) < 3e-3);
  CHECK(Error(v.Host(), want[2]) < 3e-3);
}

TEST(split_qkv_rotates_as_its_twin) {
  CheckSplit(5, 32, 8, 128, 128, false, false);
  CheckSplit(3, 9, 3, 64, 64, true, false);
  CheckSplit(2, 4, 1, 256, 256, false, true);
  CheckSplit(4, 2, 2, 96, 48, true, true);
}

void CheckGated(int32_t rows, int32_t n, Gating gating, bool quantize) {
  const std::vector<bf16> x = Normals(size_t(rows) * 2 * n);
  const DeviceArray<bf16> dx(x);
  DeviceArray<bf16> out(size_t(rows) * n);
  DeviceArray<fp8> quantized(out.count());
  DeviceArray<float> scales(rows);
  REQUIRE_CUDA(LaunchGatedActivation({dx.get(), gating, out.get(), quantize ? quantized.get() : nullptr, quantize ? scales.get() : nullptr, rows, n}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  std::vector<double> want;
  for (int32_t row = 0; row < rows; row++) {
    for (int32_t i = 0; i < n; i++) {
      const double g = At(x, size_t(row) * 2 * n + i), u = At(x, size_t(row) * 2 * n + n + i);
      want.push_back(u * (gating == Gating::kSilu ? g / (1 + std::exp(-g)) : 0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)))));
    }
  }
  CHECK(Error(out.Host(), want) < 3e-3);
  if (quantize) CHECK(QuantizedError(quantized.Host(), scales.Host(), want, n) < kFp8Error);
}

TEST(gated_activation_equals_its_twin) {
  CheckGated(3, 14336, Gating::kSilu, false);
  CheckGated(3, 14336, Gating::kSilu, true);
  CheckGated(2, 1544, Gating::kGelu, true);
  CheckGated(1, 8, Gating::kGelu, false);
}

TEST(quantized_rows_keep_their_largest_exactly_and_zeros) {
  std::vector<bf16> x = Normals(3 * 1000);
  for (int i = 1000; i < 2000; i++) x[i] = __float2bfloat16(0.f);
  const DeviceArray<bf16> dx(x);
  DeviceArray<fp8> quantized(x.size());
  DeviceArray<float> scales(3);
  REQUIRE_CUDA(LaunchQuantizeRows({dx.get(), quantized.get(), scales.get(), 3, 1000}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  std::vector<double> want;
  for (size_t i = 0; i < x.size(); i++) want.push_back(At(x, i));
  const std::vector<fp8> got = quantized.Host();
  const std::vector<float> steps = scales.Host();
  CHECK_EQ(steps[1], 1.f);
  for (int i = 1000; i < 2000; i++) {
    CHECK_EQ(static_cast<float>(got[i]), 0.f);
    want[i] = 1e-30;  // so that the row has a largest to be relative to
  }
  CHECK(QuantizedError(got, {steps[0]}, want, 1000) < kFp8Error);
  float largest = 0;
  for (int i = 2000; i < 3000; i++) largest = std::max(largest, std::fabs(static_cast<float>(got[i])));
  CHECK_EQ(largest, 448.f);
}

TEST(embedding_rows_come_scaled) {
  const std::vector<bf16> table = Normals(50 * 576);
  const std::vector<int32_t> tokens = {49, 0, 7, 7};
  const DeviceArray<bf16> dtable(table);
  const DeviceArray<int32_t> dtokens(tokens);
  DeviceArray<bf16> out(4 * 576);
  REQUIRE_CUDA(LaunchEmbed({dtable.get(), dtokens.get(), out.get(), 4, 576, 3.f}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<bf16> got = out.Host();
  for (size_t row = 0; row < tokens.size(); row++) {
    for (int i = 0; i < 576; i++) CHECK_EQ(At(got, row * 576 + i), __bfloat162float(__float2bfloat16(3.f * At(table, size_t(tokens[row]) * 576 + i))));
  }
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
