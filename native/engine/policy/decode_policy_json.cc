#include "engine/policy/decode_policy_json.h"

#include "engine/policy/members.h"

namespace longshore {

Result<DecodePolicy> ReadDecodePolicy(const JsonValue& value) {
  const std::string where = "decode";
  const JsonValue* type = value.object() ? value.Find("type") : nullptr;
  if (!type || !type->string()) return Status{Code::kCorrupt, "decode must be an object with a type"};
  Members members(value, where);
  DecodePolicy p;
  if (*type->string() == "dense") {
  } else if (*type->string() == "sketch_topk" || *type->string() == "block_topk") {
    p.kind = *type->string() == "sketch_topk" ? DecodeKind::kSketchTopk : DecodeKind::kBlockTopk;
    p.min_tokens = members.Count("min_tokens", 1, p.min_tokens);
    p.sink_tokens = members.Count("sink", 0, p.sink_tokens);
    p.window_tokens = members.Count("window", 1, p.window_tokens);
    p.dense_layers = members.Count("dense_layers", 0, p.dense_layers);
    p.measure_every = members.Count("measure_every", 0, p.measure_every);
    if (p.kind == DecodeKind::kSketchTopk) {
      p.rescore = members.Share("rescore", p.rescore);
      p.min_rescore = members.Count("min_rescore", 16, p.min_rescore);
      p.keep = members.Share("keep", p.keep);
    } else {
      p.blocks = members.Share("blocks", p.blocks);
    }
  } else {
    return Status{Code::kUnsupported, "decode.type '" + *type->string() + "' is unknown; use dense, sketch_topk or block_topk"};
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
