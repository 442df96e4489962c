#include "engine/formats/expected_shapes.h"

#include <charconv>
#include <string>
#include <string_view>

#include "engine/formats/errors.h"

namespace longshore {
namespace {

// A vector when rows is 0.
struct Shape {
  std::string_view name;
  uint64_t rows, cols;
};

Status Check(const Tensor& tensor, const Shape& expected) {
  const bool vector = expected.rows == 0;
  const bool ok = vector ? tensor.shape.size() == 1 && tensor.cols() == expected.cols
                         : tensor.shape.size() == 2 && tensor.shape[0] == expected.rows && tensor.cols() == expected.cols;
  if (ok) return Status::Ok();
  std::string actual;
  for (uint64_t d : tensor.shape) actual += (actual.empty() ? "" : ", ") + std::to_string(d);
  return Corrupt("tensor " + Quote(tensor.name) + " has shape [" + actual + "] where the configuration promises [" +
                 (vector ? "" : std::to_string(expected.rows) + ", ") + std::to_string(expected.cols) + "]");
}

Status CheckAgainst(std::span<const Shape> shapes, std::string_view name, const Tensor& tensor) {
  for (const Shape& shape : shapes) {
    if (shape.name == name) return Check(tensor, shape);
  }
  return Status::Ok();
}

}  // namespace

Status CheckShapes(const Hyperparameters& h, std::span<const Tensor> tensors) {
  const uint64_t q = static_cast<uint64_t>(h.heads) * h.head_dim, kv = static_cast<uint64_t>(h.kv_heads) * h.head_dim;
  const Shape global[] = {
      {"token_embd.weight", h.vocab, h.hidden},
      {"output.weight", h.vocab, h.hidden},
      {"output_norm.weight", 0, h.hidden},
      {"rope_freqs.weight", 0, h.rope_dims / 2},
  };
  const Shape per_layer[] = {
      {"attn_norm.weight", 0, h.hidden},     {"ffn_norm.weight", 0, h.hidden},       {"attn_q.weight", q, h.hidden},
      {"attn_k.weight", kv, h.hidden},       {"attn_v.weight", kv, h.hidden},        {"attn_output.weight", h.hidden, q},
      {"attn_q.bias", 0, q},                 {"attn_k.bias", 0, kv},                 {"attn_v.bias", 0, kv},
      {"attn_output.bias", 0, h.hidden},     {"attn_q_norm.weight", 0, h.head_dim},  {"attn_k_norm.weight", 0, h.head_dim},
      {"ffn_gate.weight", h.intermediate, h.hidden}, {"ffn_up.weight", h.intermediate, h.hidden}, {"ffn_down.weight", h.hidden, h.intermediate},
      {"post_attention_norm.weight", 0, h.hidden}, {"post_ffw_norm.weight", 0, h.hidden},
      {"ffn_gate.bias", 0, h.intermediate},  {"ffn_up.bias", 0, h.intermediate},     {"ffn_down.bias", 0, h.hidden},
  };
  for (const Tensor& tensor : tensors) {
    std::string_view name = tensor.name;
    if (!name.starts_with("blk.")) {
      if (Status s = CheckAgainst(global, name, tensor); !s.ok()) return s;
      continue;
    }
    name.remove_prefix(4);
    uint32_t layer = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    if (error != std::errc() || end == name.data() + name.size() || *end != '.' || layer >= h.layers) {
      return Corrupt("tensor " + Quote(tensor.name) + " names a layer that the model of " + std::to_string(h.layers) + " layers does not have");
    }
    name.remove_prefix(static_cast<size_t>(end - name.data()) + 1);
    if (Status s = CheckAgainst(per_layer, name, tensor); !s.ok()) return s;
  }
  return Status::Ok();
}

}  // namespace longshore
