#include "engine/cuda/prefill_policy.h"

#include <algorithm>

#include "engine/engine.h"

namespace longshore::cuda {

Result<std::vector<LayerPolicy>> LayerPolicies(const AttentionPolicy& policy, uint32_t layers) {
  std::vector<LayerPolicy> out(layers);
  if (policy.dense()) return out;
  const auto refuse = [](uint32_t layer, const std::string& what) {
    return Status(Code::kUnsupported, "layer " + std::to_string(layer) + ": the cuda backend has no " + what + " yet; use dense or block_energy, or backend cpu");
  };
  for (uint32_t layer = 0; layer < layers; ++layer) {
    const HeadPolicy& first = policy.at(layer, 0);
    for (uint32_t head = 1; head < policy.heads; ++head)
      if (!(policy.at(layer, head) == first)) return refuse(layer, "policy that differs between the heads of a layer");
    if (first.type == HeadPolicyType::kDense) continue;
    if (first.type != HeadPolicyType::kBlockEnergy) return refuse(layer, "a_shape, vertical_slash or block_sparse prefill");
    if (first.mean_correction) return refuse(layer, "mean correction");
    if (first.shared) return refuse(layer, "selection shared by query heads");
    const auto blocks = [](uint32_t tokens) { return static_cast<int>((tokens + longshore::kBlockTokens - 1) / longshore::kBlockTokens); };
    out[layer] = {true, first.alpha, first.tau, blocks(first.sink), std::max(1, blocks(first.window))};
  }
  return out;
}

}  // namespace longshore::cuda
