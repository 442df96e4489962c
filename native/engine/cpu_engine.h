// Engine (engine.h) on the CPU.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <thread>

#include "engine/engine.h"
#include "engine/forward.h"

namespace longshore {

class CpuEngine final : public Engine {
 public:
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  ~CpuEngine() override { Close(); }

  const ModelInfo& info() const override { return info_; }
  Status Step(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) override;
  Status Measure(const StepItem& item, const MeasureRequest& request, AttentionMeasures* measures, const std::atomic<int32_t>* cancel) override;
  Status ReadBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> dst) const override;
  Status WriteBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> src) override;
  EngineStats stats() const override;
  void Close() override;

 private:
  Status Load(const EngineOptions& options);
  void Describe(const std::string& digest);
  Status StepLocked(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel);
  Status RunStep(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel);

  EngineOptions options_;
  ModelInfo info_{};
  const kernels::KernelTable* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<Model> model_;
  AttentionPolicy policy_;
  DecodePolicy decode_;
  KvPool kv_;
  std::thread toucher_;
  std::atomic<bool> stop_touching_{false};
  std::unique_ptr<Forward> forward_;
  ForwardBatch batch_;
  bool closed_ = false;

  mutable std::shared_mutex life_;   // exclusive: Close; shared: everything that touches the model or the pool
  std::mutex step_;                  // one step at a time
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
};

}  // namespace longshore
