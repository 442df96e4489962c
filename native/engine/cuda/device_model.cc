#include "engine/cuda/device_model.h"

#include <vector>

#include "engine/cuda/card.h"
#include "engine/cuda/weight_upload.h"
#include "engine/formats/dequantize.h"
#include "engine/model.h"
#include "kernels/cuda/linear/random_weights.h"

namespace longshore::cuda {
namespace {

// What the card's graph lacks, in one line.
Status CheckServed(const Hyperparameters& h, const Family& family) {
  const auto lacks = [](const std::string& what) { return Status(Code::kUnsupported, "the cuda backend does not serve " + what + " yet: use backend cpu"); };
  if (family.post_norms || family.scaled_embedding) return lacks(std::string("the family ") + family.name);
  if (h.SlidesAt(0)) return lacks("sliding layers");
  if (h.attention_output_bias) return lacks("a bias of the attention output");
  if (h.mlp_bias) return lacks("biases of the MLP");
  if (h.head_dim % 32 != 0 || h.head_dim > 256) return lacks("a head_dim of " + std::to_string(h.head_dim));
  if (h.hidden % 16 != 0 || h.hidden > 16384 || h.intermediate % 16 != 0 || h.vocab % 8 != 0)
    return lacks("a shape of " + std::to_string(h.hidden) + " x " + std::to_string(h.intermediate) + " and " + std::to_string(h.vocab) + " tokens");
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<DeviceModel>> DeviceModel::Load(const std::string& path, ThreadPool& pool) {
  auto model = std::make_unique<DeviceModel>();
  if (NamesRandomShape(path)) {
    Result<RandomShape> shape = ParseRandomShape(path);
    if (!shape.ok()) return shape.status();
    model->h_ = shape.value().hyperparameters;
    model->family_ = &kLlama;
    if (Status s = model->Allocate(); !s.ok()) return s;
    if (Status s = model->Randomize(shape.value()); !s.ok()) return s;
    return model;
  }
  Result<std::unique_ptr<ModelFile>> file = ModelFile::Open(path);
  if (!file.ok()) return file.status();
  model->file_ = std::move(file.value());
  model->h_ = model->file_->hyperparameters();
  Result<const Family*> family = ServedFamily(*model->file_);
  if (!family.ok()) return family.status();
  model->family_ = family.value();
  if (Status s = CheckServed(model->h_, *model->family_); !s.ok()) return s;
  if (Status s = model->Allocate(); !s.ok()) return s;
  if (Status s = model->Upload(pool); !s.ok()) return s;
  return model;
}

void DeviceModel::Place(Parts* parts) {
  const uint64_t hidden = h_.hidden, attended = uint64_t{h_.heads} * h_.head_dim;
  frequencies_ = parts->Take<float>(h_.rope_dims / 2);
  output_norm_ = parts->Take<float>(hidden);
  embedding_ = parts->Take<bf16>(h_.vocab * hidden);
  output_ = h_.tied_embeddings ? embedding_ : parts->Take<bf16>(h_.vocab * hidden);
  layers_.resize(h_.layers);
  for (DeviceLayer& l : layers_) {
    l.attention_norm = parts->Take<float>(hidden);
    l.mlp_norm = parts->Take<float>(hidden);
    l.q_norm = h_.qk_norm ? parts->Take<float>(h_.head_dim) : nullptr;
    l.k_norm = h_.qk_norm ? parts->Take<float>(h_.head_dim) : nullptr;
    l.qkv = parts->Take<bf16>(QkvRows() * hidden);
    l.qkv_bias = h_.qkv_bias ? parts->Take<bf16>(QkvRows()) : nullptr;
    l.o = parts->Take<bf16>(hidden * attended);
    l.gate_up = parts->Take<bf16>(2 * hidden * h_.intermediate);
    l.down = parts->Take<bf16>(hidden * h_.intermediate);
  }
}

Status DeviceModel::Allocate() {
  Parts count(nullptr);
  Place(&count);
  if (Status s = memory_.Allocate(count.used(), "the model's weights in bf16"); !s.ok()) return s;
  Parts parts(memory_.as<void>());
  Place(&parts);
  return Status::Ok();
}

Status DeviceModel::Upload(ThreadPool& pool) {
  WeightUpload upload(*file_, pool);
  if (Status s = upload.Open(); !s.ok()) return s;
  std::vector<float> divisors;
  if (const Tensor* t = file_->Find("rope_freqs.weight")) {
    divisors.resize(t->cols());
    DequantizeRow(t->dtype, t->data, divisors.data(), divisors.size());
  }
  rope_ = Rope(h_, divisors);
  const cudaError_t error = cudaMemcpy(frequencies_, rope_.frequencies().data(), rope_.frequencies().size_bytes(), cudaMemcpyHostToDevice);
  if (error != cudaSuccess) return CudaStatus(error, "copying RoPE's frequencies to the card");
  if (Status s = upload.Norm("output_norm.weight", output_norm_); !s.ok()) return s;
  if (Status s = upload.Matrix("token_embd.weight", false, embedding_); !s.ok()) return s;
  if (!h_.tied_embeddings)
    if (Status s = upload.Matrix("output.weight", false, output_); !s.ok()) return s;
  const uint64_t q = uint64_t{h_.heads} * h_.head_dim, kv = uint64_t{h_.kv_heads} * h_.head_dim;
  for (uint32_t i = 0; i < h_.layers; ++i) {
    const DeviceLayer& l = layers_[i];
    const std::string at = "blk." + std::to_string(i) + ".";
    const struct { const char* name; bool rotated; bf16* to; } matrices[] = {
        {"attn_q", true, l.qkv},           {"attn_k", true, l.qkv + q * h_.hidden},
        {"attn_v", false, l.qkv + (q + kv) * h_.hidden}, {"attn_output", false, l.o},
        {"ffn_gate", false, l.gate_up},    {"ffn_up", false, l.gate_up + uint64_t{h_.intermediate} * h_.hidden},
        {"ffn_down", false, l.down}};
    for (const auto& m : matrices)
      if (Status s = upload.Matrix(at + m.name + ".weight", m.rotated, m.to); !s.ok()) return s;
    const struct { const char* name; float* to; } norms[] = {
        {"attn_norm", l.attention_norm}, {"ffn_norm", l.mlp_norm}, {"attn_q_norm", l.q_norm}, {"attn_k_norm", l.k_norm}};
    for (const auto& n : norms)
      if (n.to != nullptr)
        if (Status s = upload.Norm(at + n.name + ".weight", n.to); !s.ok()) return s;
    if (l.qkv_bias == nullptr) continue;
    const struct { const char* name; bool rotated; bf16* to; } biases[] = {
        {"attn_q", true, l.qkv_bias}, {"attn_k", true, l.qkv_bias + q}, {"attn_v", false, l.qkv_bias + q + kv}};
    for (const auto& b : biases)
      if (Status s = upload.Bias(at + b.name + ".bias", b.rotated, b.to); !s.ok()) return s;
  }
  return Status::Ok();
}

Status DeviceModel::Randomize(const RandomShape& shape) {
  rope_ = Rope(h_, {});
  uint64_t tensor = 0;
  cudaError_t error = cudaMemcpy(frequencies_, rope_.frequencies().data(), rope_.frequencies().size_bytes(), cudaMemcpyHostToDevice);
  const auto fill = [&](bf16* to, uint64_t count, float deviation) {
    if (error == cudaSuccess) error = LaunchRandomNormal({to, static_cast<int64_t>(count), shape.seed * 1000003 + tensor++, deviation}, nullptr);
  };
  const std::vector<float> ones(h_.hidden, 1.f);
  const auto one = [&](float* to) {
    if (error == cudaSuccess) error = cudaMemcpy(to, ones.data(), ones.size() * sizeof(float), cudaMemcpyHostToDevice);
  };
  const uint64_t hidden = h_.hidden, q = uint64_t{h_.heads} * h_.head_dim, kv = uint64_t{h_.kv_heads} * h_.head_dim;
  one(output_norm_);
  fill(embedding_, h_.vocab * hidden, shape.deviation);
  if (output_ != embedding_) fill(output_, h_.vocab * hidden, shape.deviation);
  for (const DeviceLayer& l : layers_) {
    one(l.attention_norm);
    one(l.mlp_norm);
    fill(l.qkv, (q + kv) * hidden, shape.deviation * shape.query_scale);
    fill(l.qkv + (q + kv) * hidden, kv * hidden, shape.deviation);
    fill(l.o, hidden * q, shape.deviation);
    fill(l.gate_up, 2 * hidden * h_.intermediate, shape.deviation);
    fill(l.down, hidden * h_.intermediate, shape.deviation);
  }
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  return CudaStatus(error, "filling the card with random weights");
}

}  // namespace longshore::cuda
