// Validation of a step's arguments, before anything is computed or written.
#pragma once

#include <span>

#include "engine/engine.h"

namespace longshore {

struct StepLimits {
  uint32_t vocab, context_length, kv_blocks, max_batch_tokens;
};

// kInvalidArgument with the item's index, the offending value and its bound. Two items may share blocks that both only read;
// that no item writes a block which another item of the step reads or writes is checked too.
Status CheckStep(std::span<const StepItem> items, const StepLimits& limits);

}  // namespace longshore
