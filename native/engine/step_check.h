// Validation of a step's arguments, before anything is computed or written.
#pragma once

#include <cstddef>
#include <span>

#include "engine/engine.h"

namespace longshore {

struct StepLimits {
  uint32_t vocab, context_length, kv_blocks, max_batch_tokens;
};

// kInvalidArgument with the item's index, the offending value and its bound. Two items may share blocks that both only read;
// that no item writes a block which another item of the step reads or writes is checked too.
Status CheckStep(std::span<const StepItem> items, const StepLimits& limits);

struct BlockLimits {
  uint32_t kv_blocks, layers;
  uint64_t kv_bytes_per_token;  // all layers
};

// The arguments of ReadBlock and WriteBlock: kInvalidArgument with the offending value and its bound.
Status CheckBlockAccess(const BlockLimits& limits, uint32_t block, uint32_t layer, uint32_t tokens, size_t bytes);

}  // namespace longshore
