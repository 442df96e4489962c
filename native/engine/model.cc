#include "engine/model.h"

#include <algorithm>
#include <cmath>

#include "engine/formats/dequantize.h"

namespace longshore {
namespace {

constexpr uint32_t kMaxGroup = 32;          // query heads per KV head
constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxContext = 1u << 20;    // positions that RoPE's angles are exact for
constexpr uint32_t kMaxWidth = 1u << 17;    // of hidden, intermediate, heads * head_dim

Status CheckLimits(const Hyperparameters& h) {
  const auto outside = [](const char* what, uint64_t value, uint64_t limit) {
    return Status(Code::kUnsupported, std::string(what) + " of " + std::to_string(value) + " is above this engine's limit of " + std::to_string(limit));
  };
  if (h.layers > kMaxLayers) return outside("a layer count", h.layers, kMaxLayers);
  if (h.context_length > kMaxContext) return outside("a context", h.context_length, kMaxContext);
  if (h.head_dim > kernels::kMaxHeadDim) return outside("a head_dim", h.head_dim, kernels::kMaxHeadDim);
  if (h.head_dim % 2 != 0 || h.rope_dims % 2 != 0) return {Code::kUnsupported, "an odd head_dim"};
  if (h.kv_heads == 0 || h.heads % h.kv_heads != 0)
    return {Code::kCorrupt, std::to_string(h.heads) + " query heads do not divide among " + std::to_string(h.kv_heads) + " KV heads"};
  if (h.heads / h.kv_heads > kMaxGroup) return outside("a ratio of query to KV heads", h.heads / h.kv_heads, kMaxGroup);
  const uint64_t widest = std::max({uint64_t{h.hidden}, uint64_t{h.intermediate}, uint64_t{h.heads} * h.head_dim});
  if (widest > kMaxWidth) return outside("a width", widest, kMaxWidth);
  return Status::Ok();
}

Status ReadVector(const ModelFile& file, const std::string& name, std::vector<float>* out) {
  Result<const Tensor*> t = file.Require(name);
  if (!t.ok()) return t.status();
  out->resize(t.value()->cols());
  DequantizeRow(t.value()->dtype, t.value()->data, out->data(), out->size());
  return Status::Ok();
}

Status ReadNorm(const ModelFile& file, const std::string& name, std::vector<float>* out) {
  if (Status s = ReadVector(file, name, out); !s.ok()) return s;
  if (const float offset = file.hyperparameters().norm_offset; offset != 0.f)
    for (float& w : *out) w += offset;
  return Status::Ok();
}

// Sliding layers rotate without the scaling that stretches the others' context.
Rope LocalRope(Hyperparameters h, std::span<const float> divisors) {
  if (h.local_rope_theta == 0.0) return Rope(h, divisors);
  h.rope_theta = h.local_rope_theta;
  h.rope_scaling = RopeScaling();
  return Rope(h, {});
}

Status Pack(const ModelFile& file, const std::string& name, const PackedMatrix::Options& options, ThreadPool& pool, PackedMatrix* out) {
  Result<const Tensor*> weight = file.Require(name + ".weight");
  if (!weight.ok()) return weight.status();
  return out->Pack(*weight.value(), file.Find(name + ".bias"), options, pool);
}

}  // namespace

Result<const Family*> ServedFamily(const ModelFile& file) {
  const Family* family = FindFamily(file.family());
  if (!family)
    return Status(Code::kUnsupported, "models of the family '" + file.family() + "' are not supported; supported are " + FamilyNames());
  if (Status s = CheckLimits(file.hyperparameters()); !s.ok()) return s;
  if (Status s = family->check(file.hyperparameters()); !s.ok()) return s;
  return family;
}

Result<std::unique_ptr<Model>> Model::Load(const std::string& path, bool exact, ThreadPool& pool) {
  Result<std::unique_ptr<ModelFile>> file = ModelFile::Open(path);
  if (!file.ok()) return file.status();
  auto model = std::make_unique<Model>();
  model->file_ = std::move(file.value());
  Result<const Family*> family = ServedFamily(*model->file_);
  if (!family.ok()) return family.status();
  model->family_ = family.value();
  if (Status s = model->LoadTensors(exact, pool); !s.ok()) return s;
  return model;
}

Status Model::LoadTensors(bool exact, ThreadPool& pool) {
  Result<const Tensor*> embedding = file_->Require("token_embd.weight");
  if (!embedding.ok()) return embedding.status();
  embedding_ = embedding.value();
  if (Status s = ReadNorm(*file_, "output_norm.weight", &output_norm_); !s.ok()) return s;
  const char* output = file_->Find("output.weight") ? "output" : "token_embd";
  if (Status s = Pack(*file_, output, {.exact = exact}, pool, &output_); !s.ok()) return s;
  std::vector<float> divisors;
  if (file_->Find("rope_freqs.weight"))
    if (Status s = ReadVector(*file_, "rope_freqs.weight", &divisors); !s.ok()) return s;
  rope_ = Rope(h(), divisors);
  local_rope_ = LocalRope(h(), divisors);
  layers_.resize(h().layers);
  for (uint32_t i = 0; i < h().layers; ++i)
    if (Status s = LoadLayer(i, exact, pool); !s.ok()) return s;
  return Status::Ok();
}

Status Model::LoadLayer(uint32_t index, bool exact, ThreadPool& pool) {
  Layer& layer = layers_[index];
  const std::string at = "blk." + std::to_string(index) + ".";
  if (Status s = ReadNorm(*file_, at + "attn_norm.weight", &layer.attention_norm); !s.ok()) return s;
  if (Status s = ReadNorm(*file_, at + "ffn_norm.weight", &layer.mlp_norm); !s.ok()) return s;
  if (family_->qk_norm) {
    if (Status s = ReadNorm(*file_, at + "attn_q_norm.weight", &layer.q_norm); !s.ok()) return s;
    if (Status s = ReadNorm(*file_, at + "attn_k_norm.weight", &layer.k_norm); !s.ok()) return s;
  }
  if (family_->post_norms) {
    if (Status s = ReadNorm(*file_, at + "post_attention_norm.weight", &layer.post_attention_norm); !s.ok()) return s;
    if (Status s = ReadNorm(*file_, at + "post_ffw_norm.weight", &layer.post_mlp_norm); !s.ok()) return s;
  }
  if (family_->needs_qkv_bias)
    for (const char* name : {"attn_q.bias", "attn_k.bias", "attn_v.bias"})
      if (Result<const Tensor*> t = file_->Require(at + name); !t.ok()) return t.status();
  const PackedMatrix::Options plain{.exact = exact};
  PackedMatrix::Options rotated = plain;
  if (h().rope_layout == RopeLayout::kInterleaved)
    rotated = {.order = RowOrder::kUninterleave, .head_dim = h().head_dim, .rope_dims = h().rope_dims, .exact = exact};
  const struct { const char* name; const PackedMatrix::Options& options; PackedMatrix* to; } matrices[] = {
      {"attn_q", rotated, &layer.q},      {"attn_k", rotated, &layer.k}, {"attn_v", plain, &layer.v},
      {"attn_output", plain, &layer.o},   {"ffn_gate", plain, &layer.gate}, {"ffn_up", plain, &layer.up},
      {"ffn_down", plain, &layer.down},
  };
  for (const auto& m : matrices)
    if (Status s = ::longshore::Pack(*file_, at + m.name, m.options, pool, m.to); !s.ok()) return s;
  return Status::Ok();
}

template <typename Fn>
void Model::ForMatrices(const Fn& fn) const {
  fn(output_);
  for (const Layer& l : layers_)
    for (const PackedMatrix* m : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) fn(*m);
}

uint64_t Model::packed_bytes() const {
  uint64_t sum = 0;
  ForMatrices([&](const PackedMatrix& m) { sum += m.bytes(); });
  return sum;
}

size_t Model::scratch_floats() const {
  size_t most = 0;
  ForMatrices([&](const PackedMatrix& m) { most = std::max(most, m.scratch_floats()); });
  return most;
}

void Model::Embed(uint32_t token, float* out) const {
  DequantizeRow(embedding_->dtype, embedding_->row(token), out, h().hidden);
  if (!family_->scaled_embedding) return;
  const float scale = std::sqrt(static_cast<float>(h().hidden));
  for (uint32_t i = 0; i < h().hidden; ++i) out[i] *= scale;
}

}  // namespace longshore
