// Matrix products through cuBLASLt, which is loaded at run time: a program that never opens a Gemm starts on a machine without CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

enum class GemmInput : int32_t {
  kBf16,  // x and weight in bf16
  kFp8,   // x and weight in e4m3, one f32 scale for each row of x and of weight
};

// out[m][n] (+)= x[m][k] weight[n][k]^T, f32 accumulation. Rows are contiguous.
struct GemmProduct {
  GemmInput input;
  const void* x;              // [m][k]
  const void* weight;         // [n][k]
  const float* x_scales;      // [m], fp8 only
  const float* weight_scales; // [n], fp8 only
  void* out;                  // [m][n] bf16, or f32 when out_f32
  bool out_f32;
  bool add;                   // out += instead of out = (the sum is rounded once)
  int32_t m;
  int32_t n;                  // a multiple of 8 (16 for fp8)
  int32_t k;                  // a multiple of 8 (16 for fp8)
};

// One per stream. Plans are kept per (input, output, class of m, n, k): the first product of a class measures what the heuristics propose and
// keeps the fastest, so run every class once before capturing a graph. m's class is m itself up to 64, then its next power of two up to 16384.
class Gemm {
 public:
  static constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

  // `workspace`: device, kWorkspaceBytes, for this Gemm alone. Null with a reason in *why when cuBLASLt cannot be loaded.
  static std::unique_ptr<Gemm> Open(void* workspace, std::string* why);
  ~Gemm();

  // cudaErrorInvalidValue for shapes it does not serve, cudaErrorNotSupported when cuBLASLt has no kernel; error() has the words.
  // Measuring a new class synchronizes the stream and overwrites nothing but `out` (with add it works on a copy); inside a capture an unmeasured class takes the
  // heuristics' first choice.
  cudaError_t Run(const GemmProduct& product, cudaStream_t stream);
  const std::string& error() const;

 private:
  class Impl;
  explicit Gemm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longshore::cuda
