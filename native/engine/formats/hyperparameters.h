// The numbers that describe a decoder-only transformer, whatever file they came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longshore {

// How RoPE pairs the channels of a head: (2i, 2i+1) or (i, i + rope_dims/2). GGUF stores Llama's Q and K rows permuted for
// the former; HF folders and GGUF's qwen files use the latter.
enum class RopeLayout { kInterleaved, kHalfSplit };

enum class RopeScalingKind { kNone, kLinear, kLlama3, kYarn };

// Fields that a kind does not use keep their defaults.
struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1.0;
  uint32_t original_context = 0;   // tokens the model was trained on before scaling (llama3, yarn)
  double low_freq_factor = 1.0;    // llama3
  double high_freq_factor = 4.0;   // llama3
  double beta_fast = 32.0;         // yarn
  double beta_slow = 1.0;          // yarn
  double attention_factor = 1.0;   // yarn: multiplies cos and sin; already resolved (default 0.1 ln(factor) + 1)
  bool truncate = true;            // yarn: correction range rounded outwards to whole channels
};

struct Hyperparameters {
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t heads = 0;              // query heads
  uint32_t kv_heads = 0;           // divides heads
  uint32_t head_dim = 0;           // need not be hidden / heads
  uint32_t intermediate = 0;       // MLP width
  uint32_t vocab = 0;              // rows of the embedding
  uint32_t context_length = 0;     // tokens
  float rms_eps = 0.f;
  double rope_theta = 10000.0;
  double local_rope_theta = 0.0;   // of sliding layers, which no RoPE scaling touches; 0: sliding layers rotate as the others
  uint32_t rope_dims = 0;          // rotated channels per head, even, <= head_dim
  RopeLayout rope_layout = RopeLayout::kHalfSplit;
  RopeScaling rope_scaling;
  uint32_t sliding_window = 0;     // tokens; 0: none
  uint32_t full_attention_every = 0;   // layers n-1, 2n-1, ... see all tokens, the others slide; 0: none slides
  double query_scale = 0.0;        // of scores; 0: 1 / sqrt(head_dim)
  float norm_offset = 0.f;         // what is added to a stored norm weight (HF's Gemma stores w - 1, GGUF stores w)
  bool tied_embeddings = false;    // the output matrix is token_embd
  bool qkv_bias = false;           // blk.N.attn_{q,k,v}.bias present
  bool attention_output_bias = false;  // blk.N.attn_output.bias present
  bool mlp_bias = false;           // blk.N.ffn_{gate,up,down}.bias present
  bool qk_norm = false;            // blk.N.attn_{q,k}_norm.weight present, [head_dim]
  bool post_norms = false;         // blk.N.post_{attention,ffw}_norm.weight present, [hidden]
  std::vector<uint32_t> eos_ids;   // tokens that end generation; sorted, unique, < vocab
  int32_t bos_id = -1;             // -1: none
  std::string name;                // general.name, or the folder's or file's name

  bool SlidesAt(uint32_t layer) const {
    return sliding_window > 0 && full_attention_every > 0 && (layer + 1) % full_attention_every != 0;
  }
};

}  // namespace longshore
