// Times the linear kernels of the Llama-3-8B shape against their floors and prints JSON lines. Rotates among layers' weights, so that
// nothing but what a model would find in the L2 cache is there. Usage: linear_report
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/linear/gated_activation.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/gemv.h"
#include "kernels/cuda/linear/quantize_rows.h"
#include "kernels/cuda/linear/random_weights.h"
#include "kernels/cuda/linear/rms_norm.h"
#include "kernels/cuda/linear/rotary.h"
#include "kernels/cuda/linear/sampling.h"
#include "kernels/cuda/test/device_array.h"

namespace longshore::cuda::test {
namespace {

constexpr int kHidden = 4096, kIntermediate = 14336, kHeads = 32, kKvHeads = 8, kDim = 128, kTile = kBlockTokens * kDim, kQkv = (kHeads + 2 * kKvHeads) * kDim, kVocab = 128256;
constexpr int kLayers = 8;
constexpr double kCopyTbPerS = 2.98;

// Median milliseconds of one of `repeat` calls inside a graph.
double Timed(cudaStream_t stream, int repeat, const std::function<void(int)>& call) {
  call(0);
  REQUIRE_CUDA(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  REQUIRE_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < repeat; i++) call(i);
  REQUIRE_CUDA(cudaStreamEndCapture(stream, &graph));
  REQUIRE_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t start, end;
  REQUIRE_CUDA(cudaEventCreate(&start));
  REQUIRE_CUDA(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 9; i++) {
    float ms = 0;
    REQUIRE_CUDA(cudaEventRecord(start, stream));
    REQUIRE_CUDA(cudaGraphLaunch(exec, stream));
    REQUIRE_CUDA(cudaEventRecord(end, stream));
    REQUIRE_CUDA(cudaEventSynchronize(end));
    REQUIRE_CUDA(cudaEventElapsedTime(&ms, start, end));
    if (i >= 2) times.push_back(ms / repeat);
  }
  std::sort(times.begin(), times.end());
  REQUIRE_CUDA(cudaGraphExecDestroy(exec));
  REQUIRE_CUDA(cudaGraphDestroy(graph));
  return times[times.size() / 2];
}

DeviceArray<bf16> RandomBf16(int64_t count, uint64_t seed, float deviation) {
  DeviceArray<bf16> out(count);
  REQUIRE_CUDA(LaunchRandomNormal({out.get(), count, seed, deviation}, nullptr));
  return out;
}

struct Weights {
  DeviceArray<bf16> qkv, o, gate_up, down;
};

class Report {
 public:
  Report() : hidden_(RandomBf16(8 * kHidden, 1, 1)), q_(RandomBf16(8 * kHidden, 2, 1)), gated_(RandomBf16(8 * kIntermediate, 3, 1)),
        head_(RandomBf16(int64_t{kVocab} * kHidden, 4, 0.02f)), logits_(size_t{8} * kVocab), norm_(std::vector<float>(kHidden, 1.f)),
        angles_(std::vector<float>(8 * 64, 0.7f)), positions_(std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}), table_(std::vector<int32_t>(16, 0)),
        pool_(size_t{2} * kKvHeads * kTile) {
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    for (int i = 0; i < kLayers; i++) {
      layers_.push_back({RandomBf16(int64_t{kQkv} * kHidden, 10 + i, 0.02f), RandomBf16(int64_t{kHidden} * kHidden, 30 + i, 0.02f),
                         RandomBf16(int64_t{2} * kIntermediate * kHidden, 50 + i, 0.02f), RandomBf16(int64_t{kHidden} * kIntermediate, 70 + i, 0.02f)});
    }
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }

  void Decode(int rows, GemvWeight type) {
    const double element = type == GemvWeight::kBf16 ? 2 : 1;
    const auto line = [&](const char* what, int64_t n, int64_t k, double ms) {
      const double bytes = static_cast<double>(n) * k * element;
      std::printf("{\"what\":\"gemv\",\"product\":\"%s\",\"weight\":\"%s\",\"rows\":%d,\"us\":%.2f,\"tb_s\":%.3f,\"of_copy\":%.3f}\n", what, Name(type), rows, ms * 1e3,
                  bytes / ms / 1e9, bytes / ms / 1e9 / kCopyTbPerS);
    };
    line("norm_qkv", kQkv, kHidden, Timed(stream_, 4 * kLayers, [&](int i) { Qkv(layers_[i % kLayers], rows, type); }));
    line("o_add", kHidden, kHidden, Timed(stream_, 4 * kLayers, [&](int i) { O(layers_[i % kLayers], rows, type); }));
    line("norm_gate_up", 2 * kIntermediate, kHidden, Timed(stream_, 4 * kLayers, [&](int i) { GateUp(layers_[i % kLayers], rows, type); }));
    const bool down = GemvServes(DownOf(layers_[0], rows, type));
    if (down) line("down_add", kHidden, kIntermediate, Timed(stream_, 4 * kLayers, [&](int i) { Down(layers_[i % kLayers], rows, type); }));
    if (type == GemvWeight::kBf16) line("norm_head", kVocab, kHidden, Timed(stream_, 4, [&](int) { Head(rows); }));
    if (!down) return;
    const double ms = Timed(stream_, 4 * kLayers, [&](int i) {
      const Weights& w = layers_[i % kLayers];
      Qkv(w, rows, type), O(w, rows, type), GateUp(w, rows, type), Down(w, rows, type);
    });
    const double bytes = element * (double{kQkv} * kHidden + double{kHidden} * kHidden + 3.0 * kIntermediate * kHidden);
    std::printf("{\"what\":\"decode_layer\",\"weight\":\"%s\",\"rows\":%d,\"us\":%.2f,\"floor_us\":%.2f,\"tb_s\":%.3f,\"of_copy\":%.3f}\n", Name(type), rows, ms * 1e3,
                bytes / kCopyTbPerS / 1e6, bytes / ms / 1e9, bytes / ms / 1e9 / kCopyTbPerS);
  }

  void Sampling(int rows) {
    Head(rows);
    DeviceArray<int32_t> tokens(rows);
    DeviceArray<float> logprobs(rows);
    const struct { const char* name; RowSampling how; } all[] = {{"greedy", {0, 1, 0, 0, 1, 1}}, {"temperature", {0.8f, 1, 0, 0, 1, 1}}, {"top_k_40_top_p_0.95", {0.8f, 0.95f, 0, 40, 1, 1}}};
    for (const auto& one : all) {
      const DeviceArray<RowSampling> how(std::vector<RowSampling>(rows, one.how));
      const double ms = Timed(stream_, 4, [&](int) { REQUIRE_CUDA(LaunchSampling({logits_.get(), how.get(), rows, kVocab, tokens.get(), logprobs.get()}, stream_)); });
      std::printf("{\"what\":\"sampling\",\"how\":\"%s\",\"rows\":%d,\"vocab\":%d,\"us\":%.2f}\n", one.name, rows, kVocab, ms * 1e3);
    }
  }

  void Prefill(int m) {
    DeviceArray<uint8_t> workspace(Gemm::kWorkspaceBytes);
    std::string why;
    const std::unique_ptr<Gemm> gemm = Gemm::Open(workspace.get(), &why);
    if (gemm == nullptr) {
      std::printf("{\"what\":\"gemm\",\"error\":\"%s\"}\n", why.c_str());
      return;
    }
    const DeviceArray<bf16> x = RandomBf16(int64_t{m} * kIntermediate, 90, 1);
    DeviceArray<bf16> out(size_t{static_cast<size_t>(m)} * 2 * kIntermediate);
    DeviceArray<fp8> x8(x.count()), w8(size_t{2} * kIntermediate * kHidden);
    DeviceArray<float> x_scales(m), w_scales(2 * kIntermediate);
    out.Zero();
    double total[2] = {};
    const struct { const char* name; const bf16* weight; int n, k; bool add; } products[] = {
        {"qkv", layers_[0].qkv.get(), kQkv, kHidden, false}, {"o_add", layers_[0].o.get(), kHidden, kHidden, true},
        {"gate_up", layers_[0].gate_up.get(), 2 * kIntermediate, kHidden, false}, {"down_add", layers_[0].down.get(), kHidden, kIntermediate, true}};
    for (const auto& p : products) {
      REQUIRE_CUDA(LaunchQuantizeRows({x.get(), x8.get(), x_scales.get(), m, p.k}, stream_));
      REQUIRE_CUDA(LaunchQuantizeRows({p.weight, w8.get(), w_scales.get(), p.n, p.k}, stream_));
      for (const GemmInput input : {GemmInput::kBf16, GemmInput::kFp8}) {
        const bool eight = input == GemmInput::kFp8;
        const GemmProduct product = {input, eight ? static_cast<const void*>(x8.get()) : x.get(), eight ? static_cast<const void*>(w8.get()) : p.weight,
                                     x_scales.get(), w_scales.get(), out.get(), false, p.add, m, p.n, p.k};
        if (gemm->Run(product, stream_) != cudaSuccess) {
          std::printf("{\"what\":\"gemm\",\"product\":\"%s\",\"input\":\"%s\",\"m\":%d,\"error\":\"%s\"}\n", p.name, eight ? "fp8" : "bf16", m, gemm->error().c_str());
          continue;
        }
        const double ms = Timed(stream_, m <= 64 ? 8 : 2, [&](int) { gemm->Run(product, stream_); });
        total[eight] += ms;
        std::printf("{\"what\":\"gemm\",\"product\":\"%s\",\"input\":\"%s\",\"m\":%d,\"ms\":%.4f,\"tflops\":%.0f}\n", p.name, eight ? "fp8" : "bf16", m, ms,
                    2.0 * m * p.n * p.k / ms / 1e9);
      }
    }
    const DeviceArray<float> norm(std::vector<float>(kHidden, 1.f));
    const auto bandwidth = [&](const char* what, double bytes, double ms) {
      std::printf("{\"what\":\"elementwise\",\"kernel\":\"%s\",\"rows\":%d,\"us\":%.2f,\"tb_s\":%.3f}\n", what, m, ms * 1e3, bytes / ms / 1e9);
      return ms;
    };
    const double rows = m;
    double extra = 2 * bandwidth("rms_norm_fp8", rows * kHidden * 3, Timed(stream_, 4, [&](int) {
      LaunchRmsNorm({x.get(), nullptr, nullptr, norm.get(), 1e-5f, nullptr, nullptr, x8.get(), x_scales.get(), m, kHidden}, stream_);
    }));
    extra += bandwidth("quantize_rows", rows * kHidden * 3, Timed(stream_, 4, [&](int) { LaunchQuantizeRows({x.get(), x8.get(), x_scales.get(), m, kHidden}, stream_); }));
    extra += bandwidth("swiglu_fp8", rows * kIntermediate * 5, Timed(stream_, 4, [&](int) {
      LaunchGatedActivation({out.get(), Gating::kSilu, nullptr, x8.get(), x_scales.get(), m, kIntermediate}, stream_);
    }));
    double plain = 2 * bandwidth("rms_norm", rows * kHidden * 4, Timed(stream_, 4, [&](int) {
      LaunchRmsNorm({x.get(), nullptr, nullptr, norm.get(), 1e-5f, nullptr, out.get(), nullptr, nullptr, m, kHidden}, stream_);
    }));
    plain += bandwidth("swiglu", rows * kIntermediate * 6, Timed(stream_, 4, [&](int) {
      LaunchGatedActivation({out.get(), Gating::kSilu, const_cast<bf16*>(x.get()), nullptr, nullptr, m, kIntermediate}, stream_);
    }));
    if (total[0] > 0 && total[1] > 0) {
      std::printf("{\"what\":\"linear_of_a_layer\",\"m\":%d,\"bf16_ms\":%.4f,\"fp8_ms\":%.4f,\"fp8_with_quantization_ms\":%.4f,\"bf16_with_elementwise_ms\":%.4f,\"speedup\":%.3f}\n", m,
                  total[0], total[1], total[1] + extra, total[0] + plain, (total[0] + plain) / (total[1] + extra));
    }
  }

 private:
  static const char* Name(GemvWeight type) { return type == GemvWeight::kBf16 ? "bf16" : type == GemvWeight::kFp8 ? "fp8" : "int8"; }
  // One-byte weights are the same random bytes: a time does not depend on what they mean.
  Gemv Base(const DeviceArray<bf16>& weight, int rows, GemvWeight type, int n, int k) const {
    Gemv gemv = {};
    gemv.weight_type = type;
    gemv.weight = weight.get();
    gemv.weight_scales = type == GemvWeight::kBf16 ? nullptr : logits_.get();
    gemv.eps = 1e-5f;
    gemv.rows = rows, gemv.n = n, gemv.k = k;
    return gemv;
  }
  void Qkv(const Weights& w, int rows, GemvWeight type) {
    Gemv gemv = Base(w.qkv, rows, type, kQkv, kHidden);
    gemv.x = hidden_.get(), gemv.norm_weight = norm_.get(), gemv.output = GemvOutput::kQkv, gemv.out = q_.get();
    gemv.qkv = {angles_.get(), angles_.get(), positions_.get(), kHeads, kKvHeads, kDim,
                {pool_.get(), pool_.get() + kKvHeads * kTile, kKvHeads * kTile, kTile, table_.get(), 2}};
    REQUIRE_CUDA(LaunchGemv(gemv, stream_));
  }
  void O(const Weights& w, int rows, GemvWeight type) {
    Gemv gemv = Base(w.o, rows, type, kHidden, kHidden);
    gemv.x = q_.get(), gemv.output = GemvOutput::kAdd, gemv.out = hidden_.get();
    REQUIRE_CUDA(LaunchGemv(gemv, stream_));
  }
  void GateUp(const Weights& w, int rows, GemvWeight type) {
    Gemv gemv = Base(w.gate_up, rows, type, 2 * kIntermediate, kHidden);
    gemv.x = hidden_.get(), gemv.norm_weight = norm_.get(), gemv.output = GemvOutput::kSilu, gemv.out = gated_.get();
    REQUIRE_CUDA(LaunchGemv(gemv, stream_));
  }
  Gemv DownOf(const Weights& w, int rows, GemvWeight type) {
    Gemv gemv = Base(w.down, rows, type, kHidden, kIntermediate);
    gemv.x = gated_.get(), gemv.output = GemvOutput::kAdd, gemv.out = hidden_.get();
    return gemv;
  }
  void Down(const Weights& w, int rows, GemvWeight type) { REQUIRE_CUDA(LaunchGemv(DownOf(w, rows, type), stream_)); }
  void Head(int rows) {
    Gemv gemv = Base(head_, rows, GemvWeight::kBf16, kVocab, kHidden);
    gemv.x = hidden_.get(), gemv.norm_weight = norm_.get(), gemv.output = GemvOutput::kF32, gemv.logits = logits_.get();
    REQUIRE_CUDA(LaunchGemv(gemv, stream_));
  }

  DeviceArray<bf16> hidden_, q_, gated_, head_;
  DeviceArray<float> logits_, norm_, angles_;
  DeviceArray<int32_t> positions_, table_;
  DeviceArray<bf16> pool_;
  std::vector<Weights> layers_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace
}  // namespace longshore::cuda::test

int main() {
  using namespace longshore::cuda;
  longshore::cuda::test::Report report;
  for (const int rows : {1, 2, 4, 8}) report.Decode(rows, GemvWeight::kBf16);
  report.Decode(1, GemvWeight::kFp8);
  report.Decode(1, GemvWeight::kInt8);
  for (const int rows : {1, 8}) report.Sampling(rows);
  for (const int m : {1, 8, 32, 2048, 8192}) report.Prefill(m);
}
