// HF tensor names to GGUF's, the canonical ones here (weights.h).
#include <span>
#include <string>
#include <string_view>

#include "engine/formats/hf_model.h"

namespace longshore {
namespace {

struct Rename {
  std::string_view hf, canonical;
};

constexpr Rename kGlobal[] = {
    {"embed_tokens.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

// Followed by ".weight" or ".bias".
constexpr Rename kPerLayer[] = {
    {"input_layernorm", "attn_norm"},     {"post_attention_layernorm", "ffn_norm"}, {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},       {"self_attn.v_proj", "attn_v"},           {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},  {"self_attn.k_norm", "attn_k_norm"},      {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},            {"mlp.down_proj", "ffn_down"},
};

// Families with norms after attention and MLP call the one before the MLP otherwise.
constexpr Rename kPostNorms[] = {
    {"post_attention_layernorm", "post_attention_norm"}, {"pre_feedforward_layernorm", "ffn_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"},
};

}  // namespace

std::string CanonicalTensorName(std::string_view hf_name, bool post_norms) {
  std::string_view name = hf_name;
  // A checkpoint of the bare decoder lacks the prefix.
  if (name.starts_with("model.")) name.remove_prefix(6);
  for (const Rename& r : kGlobal) {
    if (name == r.hf) return std::string(r.canonical);
  }
  if (!name.starts_with("layers.")) return std::string(hf_name);
  name.remove_prefix(7);
  const size_t dot = name.find('.'), last = name.rfind('.');
  if (dot == std::string_view::npos || dot == last) return std::string(hf_name);
  const std::string_view layer = name.substr(0, dot), part = name.substr(dot + 1, last - dot - 1), kind = name.substr(last);
  if (kind != ".weight" && kind != ".bias") return std::string(hf_name);
  const auto canonical = [&](std::span<const Rename> renames) -> std::string_view {
    for (const Rename& r : renames)
      if (part == r.hf) return r.canonical;
    return {};
  };
  std::string_view found = post_norms ? canonical(kPostNorms) : std::string_view();
  if (found.empty()) found = canonical(kPerLayer);
  if (!found.empty()) return "blk." + std::string(layer) + "." + std::string(found) + std::string(kind);
  return std::string(hf_name);
}

}  // namespace longshore
