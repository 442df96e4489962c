// Writes Hugging Face folders with random weights, in shapes that the card's kernels are made for.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "test/random_numbers.h"

namespace longshore::test {

struct RandomModel {
  std::string type;      // "llama", "qwen2" (QKV biases), "qwen3" (norms of heads)
  uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab;
  bool tied = false;
};

// bf16 weights of unit gain, so that every row of logits and every softmax has a spread worth comparing. Returns the folder.
inline std::string WriteRandomModel(const RandomModel& m, uint64_t seed) {
  const auto folder = std::filesystem::temp_directory_path() / ("longshore-random-" + m.type + "-" + std::to_string(m.head_dim) + "-" + std::to_string(m.heads) + "-" + std::to_string(seed));
  std::filesystem::create_directories(folder);
  Random random(seed);
  std::string header;
  std::vector<uint16_t> data;
  const auto add = [&](const std::string& name, uint32_t rows, uint32_t cols, bool norm = false) {
    const size_t from = data.size() * 2;
    const float scale = std::sqrt(3.f / static_cast<float>(cols));
    for (size_t i = 0; i < size_t{rows} * cols; ++i) data.push_back(ToBf16(norm ? 1.f + 0.3f * random.Unit() : random.Unit() * scale));
    header += (header.empty() ? "\"" : ",\"") + name + "\":{\"dtype\":\"BF16\",\"shape\":[" + (rows > 1 || !norm ? std::to_string(rows) + "," : "") + std::to_string(cols) +
              "],\"data_offsets\":[" + std::to_string(from) + "," + std::to_string(data.size() * 2) + "]}";
  };
  const auto vector = [&](const std::string& name, uint32_t n) { add(name, 1, n, true); };
  add("model.embed_tokens.weight", m.vocab, m.hidden);
  if (!m.tied) add("lm_head.weight", m.vocab, m.hidden);
  vector("model.norm.weight", m.hidden);
  const uint32_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  for (uint32_t i = 0; i < m.layers; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    vector(at + "input_layernorm.weight", m.hidden);
    vector(at + "post_attention_layernorm.weight", m.hidden);
    for (const auto& [name, rows] : std::vector<std::pair<std::string, uint32_t>>{{"q", q}, {"k", kv}, {"v", kv}}) {
      add(at + "self_attn." + name + "_proj.weight", rows, m.hidden);
      if (m.type == "qwen2") vector(at + "self_attn." + name + "_proj.bias", rows);
      if (m.type == "qwen3" && name != "v") vector(at + "self_attn." + name + "_norm.weight", m.head_dim);
    }
    add(at + "self_attn.o_proj.weight", m.hidden, q);
    add(at + "mlp.gate_proj.weight", m.intermediate, m.hidden);
    add(at + "mlp.up_proj.weight", m.intermediate, m.hidden);
    add(at + "mlp.down_proj.weight", m.hidden, m.intermediate);
  }
  header = "{" + header + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();
  std::ofstream weights(folder / "model.safetensors", std::ios::binary);
  weights.write(reinterpret_cast<const char*>(&size), 8);
  weights.write(header.data(), static_cast<std::streamsize>(size));
  weights.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size() * 2));
  const std::string architecture = m.type == "llama" ? "LlamaForCausalLM" : m.type == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM";
  std::ofstream(folder / "config.json") << "{\"architectures\":[\"" << architecture << "\"],\"model_type\":\"" << m.type << "\",\"vocab_size\":" << m.vocab
      << ",\"hidden_size\":" << m.hidden << ",\"intermediate_size\":" << m.intermediate << ",\"num_hidden_layers\":" << m.layers
      << ",\"num_attention_heads\":" << m.heads << ",\"num_key_value_heads\":" << m.kv_heads << ",\"head_dim\":" << m.head_dim
      << ",\"max_position_embeddings\":32768,\"rope_theta\":10000.0,\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\",\"attention_bias\":false"
      << ",\"tie_word_embeddings\":" << (m.tied ? "true" : "false") << ",\"bos_token_id\":1,\"eos_token_id\":2,\"torch_dtype\":\"bfloat16\"}";
  return folder.string();
}

}  // namespace longshore::test
