#include "engine/policy/built_in.h"

namespace longshore {
namespace {

// Figures: docs/design/0017 (prefill), 0018 (decode). Below 4,096 tokens the index costs what it saves.
constexpr std::string_view kDense = R"({"format":"longshore-attention-policy","version":1,"default":{"type":"dense"}})";
constexpr std::string_view kBlockEnergy = R"({"format":"longshore-attention-policy","version":1,"min_tokens":4096,
  "default":{"type":"block_energy","alpha":0.02,"sink":256,"window":512,"tau":0.2},
  "decode":{"type":"sketch_topk","min_tokens":16384}})";

}  // namespace

std::string_view BuiltInPolicy(std::string_view name) {
  if (name == "dense") return kDense;
  if (name == "default" || name == "block_energy") return kBlockEnergy;
  return {};
}

const char* BuiltInPolicyNames() { return "dense, default or block_energy"; }

}  // namespace longshore
