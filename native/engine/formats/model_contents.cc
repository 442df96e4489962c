#include "engine/formats/model_contents.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "engine/formats/errors.h"
#include "engine/formats/expected_shapes.h"

namespace longshore {
namespace {

const Tensor* FindTensor(const ModelContents& model, std::string_view name) {
  const auto it = std::lower_bound(model.tensors.begin(), model.tensors.end(), name, [](const Tensor& t, std::string_view n) { return t.name < n; });
  return it != model.tensors.end() && it->name == name ? &*it : nullptr;
}

Status SortTensors(ModelContents* model) {
  std::sort(model->tensors.begin(), model->tensors.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  for (size_t i = 1; i < model->tensors.size(); ++i) {
    if (model->tensors[i - 1].name == model->tensors[i].name) return Corrupt("tensor " + Quote(model->tensors[i].name) + " is stored twice");
  }
  return Status::Ok();
}

Status InRange(const char* what, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return Status::Ok();
  return Corrupt(std::string("absurd ") + what + " " + std::to_string(value) + "; " + std::to_string(low) + " to " + std::to_string(high) + " are possible");
}

Status CheckRope(const Hyperparameters& h) {
  const auto positive = [](double x) { return std::isfinite(x) && x > 0.0; };
  if (!positive(h.rope_theta) || (h.local_rope_theta != 0.0 && !positive(h.local_rope_theta))) return Corrupt("RoPE theta is not a positive number");
  if (h.rope_dims == 0 || h.rope_dims > h.head_dim || h.rope_dims % 2 != 0) {
    return Corrupt("RoPE rotates " + std::to_string(h.rope_dims) + " channels of a head of " + std::to_string(h.head_dim));
  }
  const RopeScaling& s = h.rope_scaling;
  if (!positive(s.factor) || s.factor > 1e6 || !positive(s.low_freq_factor) || !positive(s.high_freq_factor) || !positive(s.beta_fast) ||
      !positive(s.beta_slow) || !positive(s.attention_factor)) {
    return Corrupt("a RoPE scaling parameter is not a positive number of sane size");
  }
  if (s.kind == RopeScalingKind::kLlama3 && s.low_freq_factor >= s.high_freq_factor) return Corrupt("RoPE scaling llama3: low_freq_factor must be below high_freq_factor");
  if (s.kind == RopeScalingKind::kYarn && h.rope_theta == 1.0) return Corrupt("RoPE scaling yarn needs a theta other than 1");
  if (s.kind == RopeScalingKind::kLlama3 || s.kind == RopeScalingKind::kYarn) {
    return InRange("original context of RoPE scaling", s.original_context, 1, 1u << 30);
  }
  return Status::Ok();
}

Status CheckHyperparameters(const Hyperparameters& h) {
  const struct {
    const char* what;
    uint64_t value, low, high;
  } ranges[] = {
      {"layer count", h.layers, 1, 1024},     {"hidden size", h.hidden, 1, 1 << 17},       {"head count", h.heads, 1, 1024},
      {"KV head count", h.kv_heads, 1, 1024}, {"head dimension", h.head_dim, 2, 1024},     {"MLP width", h.intermediate, 1, 1 << 20},
      {"vocabulary", h.vocab, 1, 1 << 22},    {"context length", h.context_length, 1, 1 << 27},
  };
  for (const auto& r : ranges) {
    if (Status s = InRange(r.what, r.value, r.low, r.high); !s.ok()) return s;
  }
  if (h.heads % h.kv_heads != 0) return Corrupt(std::to_string(h.heads) + " query heads cannot share " + std::to_string(h.kv_heads) + " KV heads evenly");
  if (!std::isfinite(h.rms_eps) || h.rms_eps <= 0.f || h.rms_eps > 1.f) return Corrupt("the RMS norm's epsilon is missing or not between 0 and 1");
  if (h.sliding_window > 1 << 27) return Corrupt("absurd sliding window of " + std::to_string(h.sliding_window) + " tokens");
  if (!std::isfinite(h.query_scale) || h.query_scale < 0.0 || h.query_scale > 1e3) return Corrupt("the scale of attention scores is not a positive number of sane size");
  return CheckRope(h);
}

// YaRN and linear scaling stretch the context that the file states for the unscaled model.
void StretchContext(Hyperparameters* h) {
  const RopeScaling& s = h->rope_scaling;
  if (s.kind != RopeScalingKind::kYarn) return;
  const double stretched = s.original_context * s.factor;
  if (stretched > h->context_length && stretched <= (1 << 27)) h->context_length = static_cast<uint32_t>(stretched);
}

void LearnFromTensors(ModelContents* model) {
  Hyperparameters& h = model->hyperparameters;
  const auto has = [&](const char* name) { return FindTensor(*model, name) != nullptr; };
  if (h.vocab == 0) {
    const Tensor* embedding = FindTensor(*model, "token_embd.weight");
    if (embedding != nullptr) h.vocab = static_cast<uint32_t>(std::min<uint64_t>(embedding->rows(), 1u << 31));
  }
  if (!has("output.weight")) h.tied_embeddings = true;
  h.qkv_bias = has("blk.0.attn_q.bias");
  h.attention_output_bias = has("blk.0.attn_output.bias");
  h.mlp_bias = has("blk.0.ffn_gate.bias") || has("blk.0.ffn_down.bias");
  h.qk_norm = has("blk.0.attn_q_norm.weight");
  h.post_norms = has("blk.0.post_attention_norm.weight");
  std::erase_if(h.eos_ids, [&](uint32_t id) { return id >= h.vocab; });
  std::sort(h.eos_ids.begin(), h.eos_ids.end());
  h.eos_ids.erase(std::unique(h.eos_ids.begin(), h.eos_ids.end()), h.eos_ids.end());
  if (h.bos_id >= 0 && static_cast<uint32_t>(h.bos_id) >= h.vocab) h.bos_id = -1;
}

Status AlignTensors(ModelContents* model) {
  for (Tensor& tensor : model->tensors) {
    if (reinterpret_cast<uintptr_t>(tensor.data) % TraitsOf(tensor.dtype).alignment == 0) continue;
    auto* copy = new (std::nothrow) uint8_t[tensor.bytes];
    if (copy == nullptr) return {Code::kOutOfMemory, "no memory to align tensor " + Quote(tensor.name)};
    model->copies.emplace_back(copy);
    std::memcpy(copy, tensor.data, tensor.bytes);
    tensor.data = copy;
  }
  return Status::Ok();
}

}  // namespace

Status FinishModel(ModelContents* model) {
  if (Status s = SortTensors(model); !s.ok()) return s;
  LearnFromTensors(model);
  if (Status s = CheckHyperparameters(model->hyperparameters); !s.ok()) return s;
  StretchContext(&model->hyperparameters);
  if (Status s = CheckShapes(model->hyperparameters, model->tensors); !s.ok()) return s;
  return AlignTensors(model);
}

}  // namespace longshore
