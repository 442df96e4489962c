// The transformer's graph on the card: from a step's inputs to hidden rows, logits and drawn tokens. Enqueues only; the caller waits.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/cuda/card.h"
#include "engine/cuda/device_model.h"
#include "engine/cuda/device_pool.h"
#include "engine/cuda/prefill_policy.h"
#include "engine/cuda/step_inputs.h"
#include "engine/cuda/workspace.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/gemv.h"

namespace longshore::cuda {

// The shape of a step and where its inputs lie.
struct ForwardStep {
  uint32_t prefill_rows = 0, prefill_sequences = 0, decodes = 0;
  uint32_t max_length = 0;                     // of the decoding sequences
  uint32_t table_stride = 0;
  std::span<const StepPlan::Group> groups = {};
  StepPointers at = {};

  uint32_t rows() const { return prefill_rows + decodes; }
};

class DeviceForward {
 public:
  ~DeviceForward();
  // Errors: kOutOfMemory, kUnsupported when cuBLASLt cannot be loaded.
  Status Allocate(const DeviceModel& model, const DevicePool& pool, const Card& card, std::vector<LayerPolicy> policies, const Workspace::Limits& limits);

  const Workspace& workspace() const { return work_; }

  // All layers; writes the KV of the step's rows. kCancelled once *cancel is non-zero (null: never), after what was enqueued has ended.
  Status Run(const ForwardStep& step, const std::atomic<int32_t>* cancel, cudaStream_t stream);

  // Logits of `count` <= kLogitRows rows of the last Run, named by device row numbers, into workspace().logits.
  Status Logits(const int32_t* rows, uint32_t count, cudaStream_t stream);
  // The best of each row of logits: tokens [count], logprobs [count], on the device.
  Status Draw(uint32_t count, int32_t* tokens, float* logprobs, cudaStream_t stream);

 private:
  cudaError_t RunLayer(uint32_t index, const ForwardStep& step, cudaStream_t stream);
  cudaError_t DecodeLayer(uint32_t index, const ForwardStep& step, cudaStream_t stream);
  cudaError_t Qkv(const DeviceLayer& layer, uint32_t rows, cudaStream_t stream);
  cudaError_t PrefillGroup(uint32_t layer, const ForwardStep& step, const StepPlan::Group& group, cudaStream_t stream);
  cudaError_t Decode(uint32_t layer, const ForwardStep& step, const bf16* q, bf16* out, cudaStream_t stream);
  cudaError_t Mlp(const DeviceLayer& layer, uint32_t rows, cudaStream_t stream);
  cudaError_t Product(const bf16* x, const bf16* weight, void* out, bool out_f32, bool add, uint32_t m, uint32_t n, uint32_t k, cudaStream_t stream);
  Gemv Vector(const bf16* weight, const bf16* x, const float* norm, GemvOutput output, bf16* out, uint32_t rows, uint32_t n, uint32_t k) const;
  bool DecodesByVectors(const ForwardStep& step) const;
  Status Failed(cudaError_t error, const char* what) const;

  const DeviceModel* model_ = nullptr;
  const DevicePool* pool_ = nullptr;
  Card card_;
  std::vector<LayerPolicy> policies_;
  Workspace work_;
  std::unique_ptr<Gemm> gemm_;
  cudaEvent_t layers_done_[2] = {};
  float scale_ = 0.f;
};

}  // namespace longshore::cuda
