#include "engine/formats/hf_gemma3_config.h"

#include <cmath>

#include "engine/formats/errors.h"

namespace longshore {
namespace {

constexpr uint32_t kDefaultPeriod = 6;

// The n of "every n-th layer sees all tokens" that layer_types spells out.
Status ReadPeriod(const JsonValue& config, Members* members, Hyperparameters* h) {
  h->full_attention_every = members->Count("sliding_window_pattern").value_or(kDefaultPeriod);
  const JsonValue* types = config.FindNonNull("layer_types");
  if (types == nullptr) return Status::Ok();
  if (types->array() == nullptr || types->array()->size() != h->layers) return Corrupt("config.json: layer_types does not list a type per layer");
  uint32_t first_full = h->layers;
  for (uint32_t i = h->layers; i-- > 0;) {
    const std::string* type = (*types->array())[i].string();
    if (type != nullptr && *type == "full_attention") first_full = i;
  }
  h->full_attention_every = first_full + 1;  // no full layer at all: a period beyond the last one
  for (uint32_t i = 0; i < h->layers; ++i) {
    const std::string* type = (*types->array())[i].string();
    if (type == nullptr || *type != (h->SlidesAt(i) ? "sliding_attention" : "full_attention"))
      return Unsupported("config.json: layer_types is not a repeated pattern of sliding_attention layers with full_attention at its end");
  }
  return Status::Ok();
}

}  // namespace

Status ReadHfGemma3(const JsonValue& config, Members* members, Hyperparameters* h) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"})
    if (config.FindNonNull(key) != nullptr) return Unsupported("config.json: " + std::string(key) + " is not supported");
  if (members->Flag("use_bidirectional_attention", false)) return Unsupported("config.json: use_bidirectional_attention is not supported");
  const std::string activation = members->Text("hidden_activation");
  if (!activation.empty() && activation != "gelu_pytorch_tanh")
    return Unsupported("config.json: hidden_activation " + Quote(activation) + " is not supported for gemma3; gelu_pytorch_tanh is");
  h->norm_offset = 1.f;
  h->tied_embeddings = members->Flag("tie_word_embeddings", true);
  h->sliding_window = members->Count("sliding_window").value_or(4096);
  if (h->sliding_window == 0) return Corrupt("config.json: sliding_window is 0");
  const double scalar = members->Number("query_pre_attn_scalar").value_or(256.0);
  if (!(scalar > 0.0)) return Corrupt("config.json: query_pre_attn_scalar is not a positive number");
  if (scalar != h->head_dim) h->query_scale = 1.0 / std::sqrt(scalar);
  h->rope_theta = members->Number("rope_theta").value_or(1e6);
  h->local_rope_theta = members->Number("rope_local_base_freq").value_or(1e4);
  const JsonValue* rope = config.FindNonNull("rope_parameters");
  const JsonValue* local = rope == nullptr ? nullptr : rope->FindNonNull("sliding_attention");
  if (local != nullptr && local->object() != nullptr) {
    Members sliding(*local, "config.json, RoPE parameters of sliding layers");
    h->local_rope_theta = sliding.Number("rope_theta").value_or(h->local_rope_theta);
    const std::string type = sliding.Text("rope_type");
    if (!type.empty() && type != "default") return Unsupported("config.json: RoPE scaling of sliding layers is not supported");
    if (!sliding.status().ok()) return sliding.status();
  }
  return ReadPeriod(config, members, h);
}

}  // namespace longshore
