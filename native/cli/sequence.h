// One sequence on an engine of its own: blocks in order, prompts in chunks of the engine's batch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace longshore::cli {

// Opens the engine with a pool for `tokens` positions.
Result<std::unique_ptr<Engine>> OpenFor(EngineOptions options, uint64_t tokens);

class Sequence {
 public:
  Sequence(Engine& engine, uint32_t max_batch_tokens) : engine_(engine), chunk_(max_batch_tokens) {}

  uint32_t position() const { return position_; }
  // Forgets everything after `position`.
  void Rewind(uint32_t position) { position_ = position; }
  // Computes `tokens`; with `sampling`, draws the token after the last one into *next.
  Status Feed(std::span<const uint32_t> tokens, const SamplingParams* sampling, uint32_t* next);
  // Computes `tokens` and shows the logits after each of them, in order: row(index, logits of [vocab]).
  Status FeedForLogits(std::span<const uint32_t> tokens, const std::function<void(size_t, std::span<const float>)>& row);

 private:
  StepItem Item(std::span<const uint32_t> tokens) const;

  Engine& engine_;
  uint32_t chunk_;
  uint32_t position_ = 0;
  std::vector<uint32_t> history_;
};

}  // namespace longshore::cli
