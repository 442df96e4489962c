// config.json and generation_config.json to hyperparameters. Field names and defaults: transformers' configuration_llama.py,
// configuration_qwen2.py, configuration_qwen3.py and modeling_rope_utils.py.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "engine/formats/architectures.h"
#include "engine/formats/config_members.h"
#include "engine/formats/errors.h"
#include "engine/formats/hf_gemma3_config.h"
#include "engine/formats/hf_model.h"
#include "engine/formats/json.h"

namespace longshore {
namespace {

double YarnScale(double factor, double mscale) { return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

void ReadYarn(Members* rope, const Hyperparameters& h, RopeScaling* scaling) {
  scaling->kind = RopeScalingKind::kYarn;
  scaling->original_context = rope->Count("original_max_position_embeddings").value_or(h.context_length);
  scaling->factor = rope->Number("factor").value_or(static_cast<double>(h.context_length) / std::max(scaling->original_context, 1u));
  scaling->beta_fast = rope->Number("beta_fast").value_or(32.0);
  scaling->beta_slow = rope->Number("beta_slow").value_or(1.0);
  scaling->truncate = rope->Flag("truncate", true);
  const auto mscale = rope->Number("mscale"), mscale_all = rope->Number("mscale_all_dim");
  const bool both = mscale.value_or(0.0) != 0.0 && mscale_all.value_or(0.0) != 0.0;
  scaling->attention_factor = rope->Number("attention_factor")
                                  .value_or(both ? YarnScale(scaling->factor, *mscale) / YarnScale(scaling->factor, *mscale_all)
                                                 : YarnScale(scaling->factor, 1.0));
}

// `rope` is rope_parameters or rope_scaling.
Status ReadRope(const JsonValue& object, Hyperparameters* h, double* rotary_share) {
  if (object.object() == nullptr) return Corrupt("config.json: rope_parameters or rope_scaling is not an object");
  Members rope(object, "config.json, RoPE parameters");
  h->rope_theta = rope.Number("rope_theta").value_or(h->rope_theta);
  *rotary_share = rope.Number("partial_rotary_factor").value_or(*rotary_share);
  std::string type = rope.Text("rope_type");
  if (type.empty()) type = rope.Text("type");
  RopeScaling& scaling = h->rope_scaling;
  if (type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    scaling.factor = rope.RequireNumber("factor");
  } else if (type == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
    scaling.factor = rope.RequireNumber("factor");
    scaling.low_freq_factor = rope.RequireNumber("low_freq_factor");
    scaling.high_freq_factor = rope.RequireNumber("high_freq_factor");
    scaling.original_context = rope.RequireCount("original_max_position_embeddings");
  } else if (type == "yarn") {
    ReadYarn(&rope, *h, &scaling);
  } else if (!type.empty() && type != "default") {
    return Unsupported("config.json: RoPE type " + Quote(type) + " is not supported; default, linear, llama3 and yarn are");
  }
  return rope.status();
}

// eos_token_id is one id or a list of them.
Status ReadEndTokens(const JsonValue& object, const char* file, std::vector<uint32_t>* ids) {
  const JsonValue* value = object.FindNonNull("eos_token_id");
  if (value == nullptr) return Status::Ok();
  const auto add = [&](const JsonValue& id) {
    const int64_t* integer = id.integer();
    if (integer == nullptr || *integer < 0 || *integer > std::numeric_limits<int32_t>::max()) return false;
    ids->push_back(static_cast<uint32_t>(*integer));
    return true;
  };
  bool ok = true;
  if (value->array() != nullptr) {
    if (value->array()->size() > 1024) return Corrupt(std::string(file) + ": eos_token_id lists more than 1024 tokens");
    for (const JsonValue& id : *value->array()) ok = ok && add(id);
  } else {
    ok = add(*value);
  }
  return ok ? Status::Ok() : Corrupt(std::string(file) + ": eos_token_id is neither a token id nor a list of them");
}

Status ReadTokens(const JsonValue& config, std::string_view generation_text, Hyperparameters* h) {
  if (!generation_text.empty()) {
    Result<JsonValue> generation = ParseJson(generation_text);
    if (!generation.ok()) return Status(generation.status().code(), "generation_config.json: " + generation.status().message());
    if (Status s = ReadEndTokens(generation.value(), "generation_config.json", &h->eos_ids); !s.ok()) return s;
  }
  if (h->eos_ids.empty()) {
    if (Status s = ReadEndTokens(config, "config.json", &h->eos_ids); !s.ok()) return s;
  }
  const JsonValue* bos = config.FindNonNull("bos_token_id");
  if (bos != nullptr && bos->integer() != nullptr && *bos->integer() >= 0 && *bos->integer() <= std::numeric_limits<int32_t>::max()) {
    h->bos_id = static_cast<int32_t>(*bos->integer());
  }
  return Status::Ok();
}

}  // namespace

Status ReadHfConfig(std::string_view config_text, std::string_view generation_text, ModelContents* model) {
  Result<JsonValue> parsed = ParseJson(config_text);
  if (!parsed.ok()) return Status(parsed.status().code(), "config.json: " + parsed.status().message());
  if (parsed.value().object() == nullptr) return Corrupt("config.json is not a JSON object");
  const JsonValue& config = parsed.value();
  Members members(config, "config.json");
  const std::string type = members.Text("model_type");
  const Architecture* architecture = FindHfArchitecture(type);
  if (architecture == nullptr) return Unsupported("config.json: model_type " + Quote(type) + " is not supported; supported are " + SupportedArchitectures());
  if (config.FindNonNull("quantization_config") != nullptr) {
    return Unsupported("config.json: quantized safetensors are not supported; use the original weights or a GGUF file");
  }
  const bool gemma3 = architecture->family == "gemma3";
  const std::string activation = gemma3 ? "" : members.Text("hidden_act");
  if (!activation.empty() && activation != "silu" && activation != "swish") return Unsupported("config.json: hidden_act " + Quote(activation) + " is not supported; silu is");

  model->family = architecture->family;
  Hyperparameters& h = model->hyperparameters;
  h.layers = members.RequireCount("num_hidden_layers");
  h.hidden = members.RequireCount("hidden_size");
  h.heads = members.RequireCount("num_attention_heads");
  h.kv_heads = members.Count("num_key_value_heads").value_or(h.heads);
  h.intermediate = members.RequireCount("intermediate_size");
  h.vocab = members.RequireCount("vocab_size");
  h.context_length = members.RequireCount("max_position_embeddings");
  h.rms_eps = static_cast<float>(members.Number("rms_norm_eps").value_or(1e-6));
  h.rope_theta = members.Number("rope_theta").value_or(10000.0);
  const uint32_t derived_head_dim = h.heads > 0 ? h.hidden / h.heads : 0;
  h.head_dim = members.Count("head_dim").value_or(architecture->head_dim_default > 0 ? architecture->head_dim_default : derived_head_dim);
  h.rope_layout = RopeLayout::kHalfSplit;
  h.tied_embeddings = members.Flag("tie_word_embeddings", false);
  if (type == "mistral" || members.Flag("use_sliding_window", false)) h.sliding_window = members.Count("sliding_window").value_or(0);
  if (gemma3) {
    if (Status s = ReadHfGemma3(config, &members, &h); !s.ok()) return s;
  }
  if (!members.status().ok()) return members.status();

  // Newer files repeat the old spelling for older readers; the newer one wins.
  const JsonValue* rope = config.FindNonNull("rope_parameters");
  if (rope == nullptr) rope = config.FindNonNull("rope_scaling");
  // Gemma 3 has parameters for both kinds of layers, and this is where the full ones' are.
  if (gemma3 && rope != nullptr && rope->Find("full_attention") != nullptr) rope = rope->FindNonNull("full_attention");
  double rotary_share = members.Number("partial_rotary_factor").value_or(1.0);
  if (rope != nullptr) {
    if (Status s = ReadRope(*rope, &h, &rotary_share); !s.ok()) return s;
  }
  h.rope_dims = rotary_share > 0.0 && rotary_share <= 1.0 ? static_cast<uint32_t>(h.head_dim * rotary_share) : 0;
  return ReadTokens(config, generation_text, &h);
}

}  // namespace longshore
