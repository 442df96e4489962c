#include "engine/policy/decode_policy_json.h"

#include "engine/policy/members.h"

namespace longshore {
namespace {

constexpr uint32_t kMaxBeam = 1024;  // keys that a search may follow, or that are linked

}  // namespace

Result<DecodePolicy> ReadDecodePolicy(const JsonValue& value) {
  const std::string where = "decode";
  const JsonValue* type = value.object() ? value.Find("type") : nullptr;
  if (!type || !type->string()) return Status{Code::kCorrupt, "decode must be an object with a type"};
  Members members(value, where);
  DecodePolicy p;
  if (*type->string() == "dense") {
  } else if (*type->string() == "sketch_topk" || *type->string() == "block_topk" || *type->string() == "graph") {
    p.kind = *type->string() == "sketch_topk" ? DecodeKind::kSketchTopk : *type->string() == "graph" ? DecodeKind::kGraph : DecodeKind::kBlockTopk;
    p.min_tokens = members.Count("min_tokens", 1, p.min_tokens);
    p.sink_tokens = members.Count("sink", 0, p.sink_tokens);
    p.window_tokens = members.Count("window", 1, p.window_tokens);
    p.dense_layers = members.Count("dense_layers", 0, p.dense_layers);
    p.measure_every = members.Count("measure_every", 0, p.measure_every);
    if (p.kind == DecodeKind::kSketchTopk) {
      p.rescore = members.Share("rescore", p.rescore);
      p.min_rescore = members.Count("min_rescore", 16, p.min_rescore);
      p.keep = members.Share("keep", p.keep);
    } else if (p.kind == DecodeKind::kGraph) {
      p.beam = members.Count("beam", 1, p.beam);
      p.scan = members.Share("scan", p.scan);
      p.sample = members.Count("sample", 4, p.sample);
      p.nearest = members.Count("nearest", 2, p.nearest);
      p.degree = members.Count("degree", 2, p.degree);
      p.keep = members.Share("keep", p.keep);
      if (p.beam > kMaxBeam || p.nearest > kMaxBeam || p.degree > kMaxBeam)
        return Status{Code::kCorrupt, "decode.beam, nearest and degree must be at most " + std::to_string(kMaxBeam)};
      if (128 % p.sample != 0) return Status{Code::kCorrupt, "decode.sample must divide 128"};
    } else {
      p.blocks = members.Share("blocks", p.blocks);
    }
  } else {
    return Status{Code::kUnsupported, "decode.type '" + *type->string() + "' is unknown; use dense, sketch_topk, block_topk or graph"};
  }
  if (Status s = members.Finish(); !s.ok()) return s;
  return p;
}

Result<DecodePolicy> ParseDecodePolicy(std::string_view text) {
  if (!text.starts_with('{')) return ReadDecodePolicy(JsonValue(JsonValue::Object{{"type", JsonValue(std::string(text))}}));
  Result<JsonValue> json = ParseJson(text);
  return json.ok() ? ReadDecodePolicy(json.value()) : Result<DecodePolicy>(json.status());
}

}  // namespace longshore
