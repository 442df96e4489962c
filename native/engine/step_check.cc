#include "engine/step_check.h"

#include <algorithm>
#include <vector>

#include "engine/sampler.h"

namespace longshore {
namespace {

Status Invalid(size_t item, const std::string& what) {
  return {Code::kInvalidArgument, "item " + std::to_string(item) + ": " + what};
}

Status CheckItem(size_t index, const StepItem& item, const StepLimits& limits) {
  if (item.tokens.empty()) return Invalid(index, "no tokens; a step computes at least one");
  const uint64_t end = uint64_t{item.position} + item.tokens.size();
  if (end > limits.context_length)
    return Invalid(index, "ends at position " + std::to_string(end) + ", beyond the context of " + std::to_string(limits.context_length) + " tokens");
  for (uint32_t t : item.tokens)
    if (t >= limits.vocab) return Invalid(index, "token " + std::to_string(t) + " is not below the vocabulary of " + std::to_string(limits.vocab));
  const uint64_t blocks = (end + kBlockTokens - 1) / kBlockTokens;
  if (item.block_table.size() < blocks)
    return Invalid(index, "a block table of " + std::to_string(item.block_table.size()) + " blocks; " + std::to_string(end) + " positions need " + std::to_string(blocks));
  for (uint64_t i = 0; i < blocks; ++i)
    if (item.block_table[i] >= limits.kv_blocks)
      return Invalid(index, "block " + std::to_string(item.block_table[i]) + " is not below the pool's " + std::to_string(limits.kv_blocks));
  if (!item.sample) return Status::Ok();
  if (Status s = CheckSampling(item.sampling, item.history, limits.vocab); !s.ok()) return Invalid(index, s.message());
  return Status::Ok();
}

// A block that one table entry writes must have no second entry anywhere.
Status CheckSharing(std::span<const StepItem> items) {
  struct Use { uint32_t block; bool written; size_t item; };
  std::vector<Use> uses;
  for (size_t i = 0; i < items.size(); ++i) {
    const uint64_t end = uint64_t{items[i].position} + items[i].tokens.size();
    for (uint64_t b = 0; b < (end + kBlockTokens - 1) / kBlockTokens; ++b)
      uses.push_back({items[i].block_table[b], b >= items[i].position / kBlockTokens, i});
  }
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) { return a.block < b.block; });
  for (size_t i = 1; i < uses.size(); ++i)
    if (uses[i].block == uses[i - 1].block && (uses[i].written || uses[i - 1].written))
      return Invalid(uses[i].item, "block " + std::to_string(uses[i].block) + " is written by one table entry and used by another");
  return Status::Ok();
}

}  // namespace

Status CheckStep(std::span<const StepItem> items, const StepLimits& limits) {
  uint64_t tokens = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (Status s = CheckItem(i, items[i], limits); !s.ok()) return s;
    tokens += items[i].tokens.size();
  }
  if (tokens > limits.max_batch_tokens)
    return {Code::kInvalidArgument, std::to_string(tokens) + " tokens in one step; max_batch_tokens is " + std::to_string(limits.max_batch_tokens)};
  return CheckSharing(items);
}

Status CheckBlockAccess(const BlockLimits& limits, uint32_t block, uint32_t layer, uint32_t tokens, size_t bytes) {
  if (block >= limits.kv_blocks)
    return {Code::kInvalidArgument, "block " + std::to_string(block) + " is not below the pool's " + std::to_string(limits.kv_blocks)};
  if (layer >= limits.layers)
    return {Code::kInvalidArgument, "layer " + std::to_string(layer) + " is not below the model's " + std::to_string(limits.layers)};
  if (tokens == 0 || tokens > kBlockTokens)
    return {Code::kInvalidArgument, std::to_string(tokens) + " tokens; a block holds 1 to " + std::to_string(kBlockTokens)};
  const uint64_t expected = limits.kv_bytes_per_token / limits.layers * tokens;
  if (bytes != expected)
    return {Code::kInvalidArgument, "a buffer of " + std::to_string(bytes) + " bytes; " + std::to_string(tokens) + " tokens of a layer take " + std::to_string(expected)};
  return Status::Ok();
}

}  // namespace longshore
