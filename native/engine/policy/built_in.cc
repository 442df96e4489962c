#include "engine/policy/built_in.h"

#include <array>

#include "engine/formats/json.h"

namespace longshore {
namespace {

// Figures: docs/design/0017 (prefill), 0018 (decode). Below 4,096 tokens the index costs what it saves.
constexpr std::string_view kDense = R"({"format":"longshore-attention-policy","version":1,"default":{"type":"dense"}})";
constexpr std::string_view kBlockEnergy = R"({"format":"longshore-attention-policy","version":1,"min_tokens":4096,
  "default":{"type":"block_energy","alpha":0.02,"sink":256,"window":512,"tau":0.2},
  "decode":{"type":"sketch_topk","min_tokens":16384}})";

constexpr std::string_view kMeasured[] = {
#include "measured_policies.inc"
};

bool HasShape(const Hyperparameters& model, const JsonValue& shape) {
  const std::pair<const char*, uint32_t> counts[] = {{"layers", model.layers},     {"hidden", model.hidden},     {"heads", model.heads},
                                                     {"kv_heads", model.kv_heads}, {"head_dim", model.head_dim}, {"vocab", model.vocab}};
  for (const auto& [name, count] : counts) {
    const JsonValue* value = shape.Find(name);
    if (!value || !value->integer() || *value->integer() != count) return false;
  }
  return true;
}

}  // namespace

std::string_view BuiltInPolicy(std::string_view name) {
  if (name == "dense" || name == "default") return kDense;
  if (name == "block_energy") return kBlockEnergy;
  return {};
}

std::string_view MeasuredPolicy(const Hyperparameters& model) {
  for (const std::string_view text : kMeasured) {
    const Result<JsonValue> json = ParseJson(text);
    const JsonValue* shape = json.ok() ? json.value().Find("shape") : nullptr;
    if (shape && HasShape(model, *shape)) return text;
  }
  return {};
}

const char* BuiltInPolicyNames() { return "dense, default or block_energy"; }

}  // namespace longshore
