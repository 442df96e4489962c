// Which attention each layer's prefill uses on the card.
#pragma once

#include <vector>

#include "engine/policy/attention_policy.h"

namespace longshore::cuda {

struct LayerPolicy {
  bool sparse = false;        // block_energy; else dense
  float alpha = 0.f, tau = 0.f;
  int sink = 0, window = 1;   // blocks
};

// One entry per layer. kUnsupported for what has no kernel yet: other policies, heads of a layer that differ, a selection shared by the query heads of a
// KV head, mean correction.
Result<std::vector<LayerPolicy>> LayerPolicies(const AttentionPolicy& policy, uint32_t layers);

}  // namespace longshore::cuda
