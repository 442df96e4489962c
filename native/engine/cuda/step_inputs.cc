#include "engine/cuda/step_inputs.h"

#include <algorithm>

#include "engine/cuda/card.h"

namespace longshore::cuda {

bool DrawsOnCard(const StepItem& item) {
  const SamplingParams& s = item.sampling;
  return s.temperature == 0.f && s.repetition_penalty == 1.f && s.presence_penalty == 0.f && s.frequency_penalty == 0.f && s.top_logprobs == 0 &&
         s.logit_bias.empty() && s.banned.empty();
}

StepPointers StepInputs::Place(const StepPlan& plan, Parts* parts) {
  StepPointers p;
  p.tokens = parts->Take<int32_t>(plan.rows());
  p.positions = parts->Take<int32_t>(plan.rows());
  p.lengths = parts->Take<int32_t>(plan.decodes);
  p.tiles = parts->Take<PrefillTile>(plan.tiles.size());
  p.decode_tiles = parts->Take<PrefillTile>(plan.decodes);
  p.blocks = parts->Take<PrefillTile>(plan.blocks.size());
  p.wanted = parts->Take<int32_t>(plan.wanted.size());
  p.table = parts->Take<int32_t>(uint64_t{plan.sequences()} * plan.max_blocks);
  return p;
}

Status StepInputs::Fit(const StepPlan& plan) {
  Parts count(nullptr);
  Place(plan, &count);
  const uint64_t needed = std::max<uint64_t>(count.used(), 1u << 20);
  if (needed <= host_.bytes()) return Status::Ok();
  if (Status s = host_.Allocate(needed * 2, "a step's inputs"); !s.ok()) return s;
  return device_.Allocate(needed * 2, "a step's inputs");
}

Status StepInputs::Copy(const StepPlan& plan, std::span<const StepItem> items, cudaStream_t stream, StepPointers* out) {
  Parts host_parts(host_.as<void>());
  const StepPointers host = Place(plan, &host_parts);
  std::copy(plan.tokens.begin(), plan.tokens.end(), host.tokens);
  std::copy(plan.positions.begin(), plan.positions.end(), host.positions);
  std::copy(plan.lengths.begin(), plan.lengths.end(), host.lengths);
  std::copy(plan.tiles.begin(), plan.tiles.end(), host.tiles);
  std::copy(plan.decode_tiles.begin(), plan.decode_tiles.end(), host.decode_tiles);
  std::copy(plan.blocks.begin(), plan.blocks.end(), host.blocks);
  for (size_t i = 0; i < plan.wanted.size(); ++i) host.wanted[i] = static_cast<int32_t>(plan.wanted[i].row);
  for (size_t s = 0; s < plan.order.size(); ++s) {
    const StepItem& item = items[plan.order[s]];
    const uint64_t blocks = (uint64_t{item.position} + item.tokens.size() + longshore::kBlockTokens - 1) / longshore::kBlockTokens;
    int32_t* row = host.table + s * plan.max_blocks;
    for (uint64_t b = 0; b < plan.max_blocks; ++b) row[b] = b < blocks ? static_cast<int32_t>(item.block_table[b]) : 0;
  }
  Parts device_parts(device_.as<void>());
  *out = Place(plan, &device_parts);
  return CudaStatus(cudaMemcpyAsync(device_.as<void>(), host_.as<void>(), host_parts.used(), cudaMemcpyHostToDevice, stream), "copying a step's inputs");
}

}  // namespace longshore::cuda
