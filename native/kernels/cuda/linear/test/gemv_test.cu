#include "kernels/cuda/linear/gemv.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <cuda_fp8.h>

#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

struct Case {
  GemvWeight type = GemvWeight::kBf16;
  GemvOutput output = GemvOutput::kPlain;
  int32_t rows = 1, n = 0, k = 0;
  bool norm = false, bias = false;
  int32_t heads = 0, kv_heads = 0, head_dim = 128;
};

float WeightValue(GemvWeight type, const std::vector<uint8_t>& bytes, size_t i) {
  if (type == GemvWeight::kBf16) {
    bf16 value;
    std::memcpy(&value, bytes.data() + 2 * i, 2);
    return __bfloat162float(value);
  }
  if (type == GemvWeight::kInt8) return static_cast<float>(static_cast<int8_t>(bytes[i]));
  __nv_fp8_e4m3 value;
  std::memcpy(&value, bytes.data() + i, 1);
  return static_cast<float>(value);
}

double Gate(GemvOutput output, double x) {
  if (output == GemvOutput::kSilu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

// Everything of one case: random operands, the kernel's outputs, and the same in f64.
class Run {
 public:
  Run(const Case& c, uint32_t seed) : case_(c), random_(seed) {
    const size_t weights = static_cast<size_t>(c.n) * c.k;
    weight_.resize(weights * (c.type == GemvWeight::kBf16 ? 2 : 1));
    for (size_t i = 0; i < weights; i++) {
      if (c.type == GemvWeight::kBf16) {
        const bf16 value = __float2bfloat16(Normal());
        std::memcpy(weight_.data() + 2 * i, &value, 2);
      } else if (c.type == GemvWeight::kFp8) {
        weight_[i] = static_cast<uint8_t>(random_() & 0xff);  // every pattern but the NaNs
        if ((weight_[i] & 0x7f) == 0x7f) weight_[i] &= 0xf0;
      } else {
        weight_[i] = static_cast<uint8_t>(random_());
      }
    }
    x_ = Bf16s(static_cast<size_t>(c.rows) * c.k);
    bias_ = Bf16s(c.n);
    before_ = Bf16s(static_cast<size_t>(c.rows) * c.n);
    for (int32_t i = 0; i < c.n; i++) scales_.push_back(c.type == GemvWeight::kBf16 ? 1.f : 0.01f + 0.001f * std::fabs(Normal()));
    for (int32_t i = 0; i < c.k; i++) norm_.push_back(1 + 0.2f * Normal());
  }

  // The kernel's output as floats, the first `rows` rows alone.
  std::vector<float> Kernel(int32_t rows) {
    const Case& c = case_;
    const DeviceArray<uint8_t> weight(weight_);
    const DeviceArray<bf16> x(x_), bias(bias_);
    const DeviceArray<float> scales(scales_), norm(norm_);
    DeviceArray<bf16> out(before_);
    if (c.output != GemvOutput::kAdd) out.Poison();
    DeviceArray<float> logits(c.output == GemvOutput::kF32 ? static_cast<size_t>(rows) * c.n : 1);
    Gemv gemv = {c.type, weight.get(), c.type == GemvWeight::kBf16 ? nullptr : scales.get(), c.bias ? bias.get() : nullptr, x.get(),
                 c.norm ? norm.get() : nullptr, 1e-5f, c.output, out.get(), logits.get(), {}, rows, c.n, c.k};
    const int32_t d = c.head_dim, tile_elements = kBlockTokens * ((d + 63) / 64 * 64);  // in panels of 64 channels
    Rotation(d);
    const DeviceArray<float> cos(cos_), sin(sin_);
    const DeviceArray<int32_t> positions(positions_), table(table_);
    DeviceArray<bf16> k_pool(static_cast<size_t>(8) * std::max(c.kv_heads, 1) * tile_elements), v_pool(k_pool.count());
    if (c.output == GemvOutput::kQkv) {
      gemv.qkv = {cos.get(), sin.get(), positions.get(), c.heads, c.kv_heads, d,
                  {k_pool.get(), v_pool.get(), int64_t{c.kv_heads} * tile_elements, tile_elements, table.get(), 2}};
    }
    CHECK(GemvServes(gemv));
    REQUIRE_CUDA(LaunchGemv(gemv, nullptr));
    REQUIRE_CUDA(cudaDeviceSynchronize());
    std::vector<float> got;
    if (c.output == GemvOutput::kF32) return logits.Host();
    const std::vector<bf16> host = out.Host(), keys = k_pool.Host(), values = v_pool.Host();
    if (c.output != GemvOutput::kQkv) {
      const size_t width = c.output == GemvOutput::kSilu || c.output == GemvOutput::kGelu ? c.n / 2 : c.n;
      for (size_t i = 0; i < rows * width; i++) got.push_back(__bfloat162float(host[i]));
      return got;
    }
    for (int32_t row = 0; row < rows; row++) {
      for (int32_t i = 0; i < c.heads * d; i++) got.push_back(__bfloat162float(host[static_cast<size_t>(row) * c.heads * d + i]));
      for (const std::vector<bf16>* pool : {&keys, &values}) {
        for (int32_t head = 0; head < c.kv_heads; head++) {
          const int32_t block = table_[row * 2 + positions_[row] / kBlockTokens];
          const size_t tile = (static_cast<size_t>(block) * c.kv_heads + head) * tile_elements;
          for (int32_t i = 0; i < d; i++) got.push_back(__bfloat162float((*pool)[tile + TileOffset(positions_[row] % kBlockTokens, i)]));
        }
      }
    }
    return got;
  }

  std::vector<double> Twin() {
    const Case& c = case_;
    std::vector<double> out;
    std::vector<float> weight(static_cast<size_t>(c.n) * c.k);
    for (size_t i = 0; i < weight.size(); i++) weight[i] = WeightValue(c.type, weight_, i);
    for (int32_t row = 0; row < c.rows; row++) {
      std::vector<float> x(c.k);
      double squares = 0;
      for (int32_t i = 0; i < c.k; i++) {
        x[i] = __bfloat162float(x_[static_cast<size_t>(row) * c.k + i]);
        squares += double{x[i]} * x[i];
      }
      if (c.norm) {
        const double scale = 1 / std::sqrt(squares / c.k + 1e-5);
        for (int32_t i = 0; i < c.k; i++) x[i] = __bfloat162float(__float2bfloat16(static_cast<float>(x[i] * scale * norm_[i])));
      }
      std::vector<double> y(c.n);
      for (int32_t i = 0; i < c.n; i++) {
        double sum = 0;
        for (int32_t j = 0; j < c.k; j++) sum += double{weight[static_cast<size_t>(i) * c.k + j]} * x[j];
        y[i] = sum * scales_[i] + (c.bias ? __bfloat162float(bias_[i]) : 0.f);
      }
      const bool gated = c.output == GemvOutput::kSilu || c.output == GemvOutput::kGelu;
      for (int32_t i = 0; i < (gated ? c.n / 2 : c.n); i++) {
        if (gated) out.push_back(Gate(c.output, y[i]) * y[i + c.n / 2]);
        else if (c.output == GemvOutput::kAdd) out.push_back(y[i] + __bfloat162float(before_[static_cast<size_t>(row) * c.n + i]));
        else if (c.output == GemvOutput::kQkv) out.push_back(Turned(y, i, row));
        else out.push_back(y[i]);
      }
    }
    return out;
  }

 private:
  double Turned(const std::vector<double>& y, int32_t i, int32_t row) const {
    const int32_t d = case_.head_dim, half = d / 2, channel = i % d, pair = channel % half;
    if (i / d >= case_.heads + case_.kv_heads) return y[i];
    const double cos = cos_[row * half + pair], sin = sin_[row * half + pair];
    return channel < half ? y[i] * cos - y[i + half] * sin : y[i] * cos + y[i - half] * sin;
  }
  void Rotation(int32_t d) {
    cos_.clear(), sin_.clear(), positions_.clear(), table_.clear();
    for (int32_t row = 0; row < case_.rows; row++) {
      for (int32_t i = 0; i < d / 2; i++) {
        cos_.push_back(static_cast<float>(std::cos(row * 3 + i * 0.1)));
        sin_.push_back(static_cast<float>(std::sin(row * 3 + i * 0.1)));
      }
      positions_.push_back((row * 61 + 127) % 256);
      // Two rows may share a block of this small pool: they write different tokens of it.
      table_.push_back((row + 3) % 8), table_.push_back((row + 6) % 8);
    }
  }
  float Normal() { return normal_(random_); }
  std::vector<bf16> Bf16s(size_t count) {
    std::vector<bf16> out(count);
    for (bf16& v : out) v = __float2bfloat16(Normal());
    return out;
  }

  Case case_;
  std::mt19937 random_;
  std::normal_distribution<float> normal_{0.f, 1.f};
  std::vector<uint8_t> weight_;
  std::vector<bf16> x_, bias_, before_;
  std::vector<float> scales_, norm_, cos_, sin_;
  std::vector<int32_t> positions_, table_;
};

void CheckAgainstTwin(const Case& c) {
  Run run(c, std::random_device{}());
  const std::vector<float> got = run.Kernel(c.rows);
  const std::vector<double> want = run.Twin();
  CHECK_EQ(got.size(), want.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); i++) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  const double error = std::sqrt(difference / norm);
  // bf16's rounding is 1.7e-3 in the mean square; x's own rounding after the norm may fall either way.
  const double bound = c.output == GemvOutput::kF32 ? (c.norm ? 1e-3 : 1e-5) : 3e-3;
  if (!(error < bound)) std::printf("  rows %d n %d k %d output %d weight %d: %.2e\n", c.rows, c.n, c.k, static_cast<int>(c.output), static_cast<int>(c.type), error);
  CHECK(error < bound);
}

TEST(gemv_equals_its_twin_for_every_number_of_rows) {
  for (int32_t rows = 1; rows <= 8; rows++) CheckAgainstTwin({.output = GemvOutput::kF32, .rows = rows, .n = 1040, .k = 2048});
}
TEST(gemv_serves_ragged_shapes) {
  for (const int32_t k : {16, 496, 512, 528, 576, 1536, 14336}) CheckAgainstTwin({.output = GemvOutput::kF32, .rows = 1, .n = 72, .k = k});
  for (const int32_t n : {8, 16, 24, 136, 2120, 4232}) CheckAgainstTwin({.output = GemvOutput::kF32, .rows = 2, .n = n, .k = 576});
}
TEST(gemv_norms_x_first) {
  for (const int32_t rows : {1, 3, 8}) CheckAgainstTwin({.output = GemvOutput::kF32, .rows = rows, .n = 512, .k = 4096, .norm = true});
}
TEST(gemv_adds_to_the_residual_stream) {
  for (const int32_t rows : {1, 5}) CheckAgainstTwin({.output = GemvOutput::kAdd, .rows = rows, .n = 4096, .k = 1536, .bias = rows == 5});
}
TEST(gemv_gates_up_by_gate) {
  CheckAgainstTwin({.output = GemvOutput::kSilu, .rows = 1, .n = 3072, .k = 576, .norm = true});
  CheckAgainstTwin({.output = GemvOutput::kGelu, .rows = 4, .n = 4112, .k = 640, .norm = true});
}
TEST(gemv_rotates_and_stores_keys_and_values) {
  CheckAgainstTwin({.output = GemvOutput::kQkv, .rows = 1, .n = 48 * 128, .k = 512, .norm = true, .heads = 32, .kv_heads = 8});
  CheckAgainstTwin({.output = GemvOutput::kQkv, .rows = 7, .n = 9 * 128, .k = 1024, .bias = true, .heads = 5, .kv_heads = 2});
  CheckAgainstTwin({.output = GemvOutput::kQkv, .rows = 2, .n = 15 * 64, .k = 576, .norm = true, .heads = 9, .kv_heads = 3, .head_dim = 64});
  CheckAgainstTwin({.output = GemvOutput::kQkv, .rows = 3, .n = 6 * 96, .k = 576, .heads = 4, .kv_heads = 1, .head_dim = 96});
  CheckAgainstTwin({.output = GemvOutput::kQkv, .rows = 1, .n = 6 * 256, .k = 640, .heads = 4, .kv_heads = 1, .head_dim = 256});
}
TEST(gemv_reads_fp8_and_int8_weights_exactly) {
  for (const GemvWeight type : {GemvWeight::kFp8, GemvWeight::kInt8}) {
    CheckAgainstTwin({.type = type, .output = GemvOutput::kF32, .rows = 1, .n = 1024, .k = 4096});
    CheckAgainstTwin({.type = type, .output = GemvOutput::kF32, .rows = 8, .n = 136, .k = 592});
    CheckAgainstTwin({.type = type, .output = GemvOutput::kSilu, .rows = 3, .n = 512, .k = 1024, .norm = true});
  }
}
TEST(gemv_of_a_row_has_the_same_bits_in_any_batch) {
  Run run({.output = GemvOutput::kF32, .rows = 8, .n = 1040, .k = 4096, .norm = true}, 7);
  const std::vector<float> all = run.Kernel(8), one = run.Kernel(1), three = run.Kernel(3);
  CHECK(std::memcmp(all.data(), one.data(), one.size() * 4) == 0);
  CHECK(std::memcmp(all.data(), three.data(), three.size() * 4) == 0);
}
TEST(gemv_refuses_what_does_not_fit) {
  const auto serves = [](GemvWeight type, int32_t rows, int32_t n, int32_t k) {
    Gemv gemv = {};
    gemv.weight_type = type;
    gemv.rows = rows, gemv.n = n, gemv.k = k;
    return GemvServes(gemv);
  };
  CHECK(serves(GemvWeight::kBf16, 8, 64, 4096));
  CHECK(!serves(GemvWeight::kBf16, 9, 64, 64));
  CHECK(!serves(GemvWeight::kBf16, 1, 64, 24));
  CHECK(!serves(GemvWeight::kBf16, 8, 64, 14336));
  CHECK(!serves(GemvWeight::kFp8, 1, 64, 64));  // without scales
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
