#include "kernels/cuda/linear/gemm.h"

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>
#include <vector>

#include "kernels/cuda/linear/cublas_lt.h"

namespace longshore::cuda {
namespace {

constexpr int kCandidates = 8;
constexpr int kTimedRuns = 3;

int32_t ClassOfRows(int32_t m) {
  if (m <= 64) return m;
  return static_cast<int32_t>(std::min<uint32_t>(std::bit_ceil(static_cast<uint32_t>(m)), 16384));
}

// input, out_f32, add, class of m, n, k
using PlanKey = std::tuple<GemmInput, bool, bool, int32_t, int32_t, int32_t>;

}  // namespace

class Gemm::Impl {
 public:
  Impl(const CublasLt& lt, cublasLtHandle_t handle, void* workspace) : lt_(lt), handle_(handle), workspace_(workspace) {}
  ~Impl() { lt_.destroy(handle_); }

  cudaError_t Run(const GemmProduct& p, cudaStream_t stream);
  const std::string& error() const { return error_; }

 private:
  // cuBLASLt's objects for one product, in its column-major words: out^T [n, m] = weight^T' [n, k] x^T [k, m].
  struct Call {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;
  };

  bool Describe(const GemmProduct& p, Call* call);
  void Release(const Call& call);
  cublasStatus_t Matmul(const GemmProduct& p, const Call& call, const cublasLtMatmulAlgo_t& algo, void* out, cudaStream_t stream);
  bool Choose(const GemmProduct& p, const Call& call, cudaStream_t stream, bool capturing, cublasLtMatmulAlgo_t* chosen);
  float Time(const GemmProduct& p, const Call& call, const cublasLtMatmulAlgo_t& algo, void* out, cudaStream_t stream);
  bool Ok(cublasStatus_t status, const char* what) {
    if (status == CUBLAS_STATUS_SUCCESS) return true;
    error_ = std::string(what) + ": cuBLASLt status " + std::to_string(static_cast<int>(status));
    return false;
  }

  const CublasLt& lt_;
  cublasLtHandle_t handle_;
  void* workspace_;
  std::string error_;
  std::map<PlanKey, cublasLtMatmulAlgo_t> plans_;
};

bool Gemm::Impl::Describe(const GemmProduct& p, Call* call) {
  const bool fp8 = p.input == GemmInput::kFp8;
  const cudaDataType_t in = fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF, out = p.out_f32 ? CUDA_R_32F : CUDA_R_16BF;
  const cublasOperation_t transpose = CUBLAS_OP_T;
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
    return Ok(lt_.desc_set(call->desc, name, &value, sizeof(value)), "describing a product");
  };
  if (!Ok(lt_.desc_create(&call->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product")) return false;
  if (!set(CUBLASLT_MATMUL_DESC_TRANSA, transpose)) return false;
  if (fp8) {
    const cublasLtMatmulMatrixScale_t per_row = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const int8_t fast = 1;
    if (!set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, per_row) || !set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, per_row) ||
        !set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.weight_scales) || !set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.x_scales) ||
        !set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast)) {
      return false;
    }
  }
  const auto rows = [](int32_t v) { return static_cast<uint64_t>(v); };
  return Ok(lt_.layout_create(&call->weight, in, rows(p.k), rows(p.n), p.k), "laying out the weight") &&
         Ok(lt_.layout_create(&call->x, in, rows(p.k), rows(p.m), p.k), "laying out x") &&
         Ok(lt_.layout_create(&call->out, out, rows(p.n), rows(p.m), p.n), "laying out the product");
}

void Gemm::Impl::Release(const Call& call) {
  if (call.out != nullptr) lt_.layout_destroy(call.out);
  if (call.x != nullptr) lt_.layout_destroy(call.x);
  if (call.weight != nullptr) lt_.layout_destroy(call.weight);
  if (call.desc != nullptr) lt_.desc_destroy(call.desc);
}

cublasStatus_t Gemm::Impl::Matmul(const GemmProduct& p, const Call& call, const cublasLtMatmulAlgo_t& algo, void* out, cudaStream_t stream) {
  const float alpha = 1, beta = p.add ? 1 : 0;
  return lt_.matmul(handle_, call.desc, &alpha, p.weight, call.weight, p.x, call.x, &beta, p.out, call.out, out, call.out, &algo, workspace_,
                    kWorkspaceBytes, stream);
}

// Milliseconds of the fastest of a few runs; infinite where the kernel does not run.
float Gemm::Impl::Time(const GemmProduct& p, const Call& call, const cublasLtMatmulAlgo_t& algo, void* out, cudaStream_t stream) {
  constexpr float kNever = 1e30f;
  float best = kNever;
  cudaEvent_t start = nullptr, end = nullptr;
  if (cudaEventCreate(&start) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess && Matmul(p, call, algo, out, stream) == CUBLAS_STATUS_SUCCESS) {
    for (int i = 0; i < kTimedRuns; i++) {
      float ms = kNever;
      cudaEventRecord(start, stream);
      if (Matmul(p, call, algo, out, stream) != CUBLAS_STATUS_SUCCESS) break;
      cudaEventRecord(end, stream);
      if (cudaEventSynchronize(end) != cudaSuccess || cudaEventElapsedTime(&ms, start, end) != cudaSuccess) break;
      best = std::min(best, ms);
    }
  }
  if (start != nullptr) cudaEventDestroy(start);
  if (end != nullptr) cudaEventDestroy(end);
  return best;
}

bool Gemm::Impl::Choose(const GemmProduct& p, const Call& call, cudaStream_t stream, bool capturing, cublasLtMatmulAlgo_t* chosen) {
  cublasLtMatmulPreference_t preference = nullptr;
  if (!Ok(lt_.preference_create(&preference), "choosing a kernel")) return false;
  const uint64_t workspace = kWorkspaceBytes;
  lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace));
  cublasLtMatmulHeuristicResult_t found[kCandidates];
  int count = 0;
  const cublasStatus_t status = lt_.heuristics(handle_, call.desc, call.weight, call.x, call.out, call.out, preference, kCandidates, found, &count);
  lt_.preference_destroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
    error_ = "cuBLASLt has no kernel for [" + std::to_string(p.m) + ", " + std::to_string(p.k) + "] x [" + std::to_string(p.n) + ", " + std::to_string(p.k) + "]";
    return false;
  }
  *chosen = found[0].algo;
  if (capturing) return true;
  // With `add`, out is read as well, so the trial runs write elsewhere.
  void* out = p.out;
  if (p.add && cudaMalloc(&out, static_cast<size_t>(p.m) * p.n * (p.out_f32 ? 4 : 2)) != cudaSuccess) {
    cudaGetLastError();
    return true;
  }
  float best = 1e30f;
  for (int i = 0; i < count; i++) {
    if (found[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const float ms = Time(p, call, found[i].algo, out, stream);
    if (ms < best) best = ms, *chosen = found[i].algo;
  }
  if (out != p.out) cudaFree(out);
  return true;
}

cudaError_t Gemm::Impl::Run(const GemmProduct& p, cudaStream_t stream) {
  const int32_t step = p.input == GemmInput::kFp8 ? 16 : 8;
  if (p.m < 0 || p.n <= 0 || p.k <= 0 || p.n % step != 0 || p.k % step != 0) {
    error_ = "a product's n and k must be multiples of " + std::to_string(step);
    return cudaErrorInvalidValue;
  }
  if (p.m == 0) return cudaSuccess;
  Call call;
  if (!Describe(p, &call)) {
    Release(call);
    return cudaErrorNotSupported;
  }
  const PlanKey key = {p.input, p.out_f32, p.add, ClassOfRows(p.m), p.n, p.k};
  auto plan = plans_.find(key);
  // A plan made for fewer rows of its class may need more workspace than there is for these: then the class gets one that does not.
  bool ok = plan != plans_.end() && Matmul(p, call, plan->second, p.out, stream) == CUBLAS_STATUS_SUCCESS;
  if (!ok) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaStreamIsCapturing(stream, &capture);
    cublasLtMatmulAlgo_t algo;
    if (!Choose(p, call, stream, capture != cudaStreamCaptureStatusNone, &algo)) {
      Release(call);
      return cudaErrorNotSupported;
    }
    plans_[key] = algo;
    ok = Ok(Matmul(p, call, algo, p.out, stream), "multiplying");
  }
  Release(call);
  return ok ? cudaSuccess : cudaErrorUnknown;
}

Gemm::Gemm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gemm::~Gemm() = default;

std::unique_ptr<Gemm> Gemm::Open(void* workspace, std::string* why) {
  const CublasLt* lt = LoadCublasLt(why);
  if (lt == nullptr) return nullptr;
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = lt->create(&handle); status != CUBLAS_STATUS_SUCCESS) {
    if (why != nullptr) *why = "cuBLASLt could not start: status " + std::to_string(static_cast<int>(status));
    return nullptr;
  }
  return std::unique_ptr<Gemm>(new Gemm(std::make_unique<Impl>(*lt, handle, workspace)));
}

cudaError_t Gemm::Run(const GemmProduct& product, cudaStream_t stream) { return impl_->Run(product, stream); }
const std::string& Gemm::error() const { return impl_->error(); }

}  // namespace longshore::cuda
