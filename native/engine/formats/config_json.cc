#include "engine/formats/config_json.h"

#include <charconv>
#include <map>

namespace longshore {
namespace {

template <typename Float>
std::string ShortestText(Float value) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return '"' + std::string(buffer, result.ptr) + '"';
}

std::string Text(const char* text) { return '"' + std::string(text) + '"'; }
std::string Flag(bool value) { return value ? "true" : "false"; }

std::string Object(const std::map<std::string, std::string>& members) {
  std::string out = "{";
  for (const auto& [key, value] : members) out += (out.size() > 1 ? ",\"" : "\"") + key + "\":" + value;
  return out + "}";
}

// Members that only some families have are absent elsewhere, so that the identity of other models' blocks does not move.
void AddSliding(const Hyperparameters& h, std::map<std::string, std::string>* members) {
  if (h.full_attention_every != 0) (*members)["full_attention_every"] = std::to_string(h.full_attention_every);
  if (h.query_scale != 0.0) (*members)["query_scale"] = ShortestText(h.query_scale);
  if (h.norm_offset != 0.f) (*members)["norm_offset"] = ShortestText(h.norm_offset);
  if (h.post_norms) (*members)["post_norms"] = Flag(true);
}

std::string RopeJson(const Hyperparameters& h) {
  const RopeScaling& s = h.rope_scaling;
  std::map<std::string, std::string> members{
      {"dims", std::to_string(h.rope_dims)},
      {"layout", Text(h.rope_layout == RopeLayout::kInterleaved ? "interleaved" : "half_split")},
      {"theta", ShortestText(h.rope_theta)},
  };
  if (h.local_rope_theta != 0.0) members["local_theta"] = ShortestText(h.local_rope_theta);
  switch (s.kind) {
    case RopeScalingKind::kNone: members["scaling"] = Text("none"); break;
    case RopeScalingKind::kLinear: members["scaling"] = Text("linear"); break;
    case RopeScalingKind::kLlama3:
      members["scaling"] = Text("llama3");
      members["low_freq_factor"] = ShortestText(s.low_freq_factor);
      members["high_freq_factor"] = ShortestText(s.high_freq_factor);
      members["original_context"] = std::to_string(s.original_context);
      break;
    case RopeScalingKind::kYarn:
      members["scaling"] = Text("yarn");
      members["beta_fast"] = ShortestText(s.beta_fast);
      members["beta_slow"] = ShortestText(s.beta_slow);
      members["attention_factor"] = ShortestText(s.attention_factor);
      members["original_context"] = std::to_string(s.original_context);
      members["truncate"] = Flag(s.truncate);
      break;
  }
  if (s.kind != RopeScalingKind::kNone) members["factor"] = ShortestText(s.factor);
  return Object(members);
}

}  // namespace

std::string ConfigJson(const std::string& family, const Hyperparameters& h) {
  std::map<std::string, std::string> members{
      {"attention_output_bias", Flag(h.attention_output_bias)},
      {"family", Text(family.c_str())},
      {"head_dim", std::to_string(h.head_dim)},
      {"heads", std::to_string(h.heads)},
      {"hidden", std::to_string(h.hidden)},
      {"intermediate", std::to_string(h.intermediate)},
      {"kv_heads", std::to_string(h.kv_heads)},
      {"layers", std::to_string(h.layers)},
      {"mlp_bias", Flag(h.mlp_bias)},
      {"qk_norm", Flag(h.qk_norm)},
      {"qkv_bias", Flag(h.qkv_bias)},
      {"rms_eps", ShortestText(h.rms_eps)},
      {"rope", RopeJson(h)},
      {"sliding_window", std::to_string(h.sliding_window)},
      {"tied_embeddings", Flag(h.tied_embeddings)},
      {"vocab", std::to_string(h.vocab)},
  };
  AddSliding(h, &members);
  return Object(members);
}

}  // namespace longshore
