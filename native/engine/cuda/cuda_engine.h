// Engine (engine.h) on one CUDA card.
#pragma once

#include <mutex>
#include <shared_mutex>

#include "engine/cuda/decode_graph.h"
#include "engine/cuda/device_forward.h"
#include "engine/engine.h"

namespace longshore::cuda {

class CudaEngine final : public Engine {
 public:
  // kUnsupported also when there is no usable card, or for what only the CPU backend has (exact, f32 KV, families, policies).
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  ~CudaEngine() override { Close(); }

  const ModelInfo& info() const override { return info_; }
  Status Step(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) override;
  Status ReadBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> dst) const override;
  Status WriteBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> src) override;
  EngineStats stats() const override;
  void Close() override;

 private:
  Status Load(const EngineOptions& options, const Card& card);
  Status Describe();
  Status RunStep(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel);
  Status RunDecode(std::span<const StepItem> items, std::vector<StepOutput>* outputs);
  Status RunMixed(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel);
  Status Finish(std::span<const StepItem> items, const StepPlan& plan, const StepPointers& at, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel);
  void CountCausal(const StepPlan& plan);
  Status SampleOnHost(const StepItem& item, uint32_t row, StepOutput* out);

  EngineOptions options_;
  ModelInfo info_{};
  Card card_;
  std::unique_ptr<DeviceModel> model_;
  AttentionPolicy policy_;
  uint32_t sparse_layers_ = 0;
  DevicePool pool_;
  std::unique_ptr<DeviceForward> forward_;
  StepInputs inputs_;
  DecodeGraphs graphs_;
  PinnedMemory row_;                  // one row of logits, or drawn tokens and their logprobs
  DeviceMemory drawn_;                // tokens [kLogitRows], logprobs [kLogitRows]
  cudaStream_t stream_ = nullptr;
  bool closed_ = false;

  mutable std::shared_mutex life_;    // exclusive: Close; shared: everything that touches the card
  std::mutex step_;                   // one step at a time
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
};

}  // namespace longshore::cuda
