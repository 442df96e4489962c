#include "engine/cuda/step_plan.h"

#include <algorithm>

namespace longshore::cuda {
namespace {

void AddRows(const StepItem& item, uint32_t index, StepPlan* plan) {
  const uint32_t first = static_cast<uint32_t>(plan->tokens.size()), count = static_cast<uint32_t>(item.tokens.size());
  for (uint32_t t = 0; t < count; ++t) {
    plan->tokens.push_back(static_cast<int32_t>(item.tokens[t]));
    plan->positions.push_back(static_cast<int32_t>(item.position + t));
    if (item.want_logits || (item.sample && t + 1 == count)) plan->wanted.push_back({first + t, index, t});
  }
  plan->order.push_back(index);
  plan->max_blocks = std::max(plan->max_blocks, (item.position + count + kBlockTokens - 1) / kBlockTokens);
}

// Tiles and blocks of prefill sequences [first, first + chunks.size()).
void AddGroup(std::span<const PrefillChunk> chunks, uint32_t first, uint64_t sparse_after, StepPlan* plan) {
  StepPlan::Group group;
  group.first_sequence = first;
  group.first_tile = static_cast<uint32_t>(plan->tiles.size());
  group.first_block = static_cast<uint32_t>(plan->blocks.size());
  std::vector<PrefillTile> tiles = PlanPrefillTiles(chunks);
  // The energy of a few rows, a prompt's last ones say, misses what a single row looks for (engine/sparse/select_energy.cc): a query block that is not
  // computed whole stays dense.
  const auto sparse = std::stable_partition(tiles.begin(), tiles.end(), [&](const PrefillTile& t) {
    return t.last - t.first == static_cast<int>(kBlockTokens) && (uint64_t{static_cast<uint32_t>(t.query_block)} + 1) * kBlockTokens > sparse_after;
  });
  group.tiles = static_cast<uint32_t>(tiles.size());
  group.sparse_tiles = static_cast<uint32_t>(sparse - tiles.begin());
  plan->tiles.insert(plan->tiles.end(), tiles.begin(), tiles.end());
  for (size_t i = 0; i < chunks.size(); ++i) {
    const int32_t end = chunks[i].start + chunks[i].length, blocks = (end + static_cast<int32_t>(kBlockTokens) - 1) / static_cast<int32_t>(kBlockTokens);
    group.max_blocks = std::max(group.max_blocks, static_cast<uint32_t>(blocks));
    if (group.sparse_tiles == 0) continue;
    for (int32_t b = 0; b < blocks; ++b) {
      const int32_t last = std::min<int32_t>(kBlockTokens, end - b * static_cast<int32_t>(kBlockTokens));
      plan->blocks.push_back({0, 0, static_cast<int16_t>(last), b, static_cast<int32_t>(i)});
    }
  }
  group.blocks = static_cast<uint32_t>(plan->blocks.size()) - group.first_block;
  plan->groups.push_back(group);
}

}  // namespace

StepPlan PlanStep(std::span<const StepItem> items, uint64_t sparse_after, uint32_t group_sequences) {
  StepPlan plan;
  std::vector<PrefillChunk> chunks;
  for (uint32_t i = 0; i < items.size(); ++i) {
    if (items[i].tokens.size() < 2) continue;
    chunks.push_back({static_cast<int32_t>(plan.tokens.size()), static_cast<int32_t>(items[i].position), static_cast<int32_t>(items[i].tokens.size())});
    AddRows(items[i], i, &plan);
  }
  plan.prefill_rows = static_cast<uint32_t>(plan.tokens.size());
  plan.prefill_sequences = static_cast<uint32_t>(chunks.size());
  for (uint32_t first = 0; first < chunks.size(); first += group_sequences)
    AddGroup(std::span(chunks).subspan(first, std::min<size_t>(group_sequences, chunks.size() - first)), first, sparse_after, &plan);
  for (uint32_t i = 0; i < items.size(); ++i) {
    if (items[i].tokens.size() != 1) continue;
    const uint32_t position = items[i].position;
    const int16_t slot = static_cast<int16_t>(position % kBlockTokens);
    plan.decode_tiles.push_back({static_cast<int32_t>(plan.tokens.size()) - slot, slot, static_cast<int16_t>(slot + 1),
                                 static_cast<int32_t>(position / kBlockTokens), static_cast<int32_t>(plan.decodes++)});
    plan.lengths.push_back(static_cast<int32_t>(position + 1));
    plan.max_length = std::max(plan.max_length, position + 1);
    AddRows(items[i], i, &plan);
  }
  return plan;
}

}  // namespace longshore::cuda
