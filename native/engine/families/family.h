// What distinguishes one family of decoder-only transformers from another. One file per family, registered in families.cc.
#pragma once

#include <string_view>

#include "engine/formats/hyperparameters.h"
#include "engine/status.h"

namespace longshore {

// Of the gated MLP: silu(gate) * up, or gelu(gate) * up by its tanh formula.
enum class Gate { kSilu, kGelu };

struct Family {
  const char* name;
  bool qk_norm;        // RMS norm of each query and key head before RoPE
  bool needs_qkv_bias;
  // The family's own demands on a file, beyond the tensors that all families have. kUnsupported or kCorrupt with the reason.
  Status (*check)(const Hyperparameters&);
  bool post_norms = false;        // RMS norm of what attention and MLP add to the residual stream
  bool scaled_embedding = false;  // embeddings enter times sqrt(hidden)
  Gate gate = Gate::kSilu;
};

extern const Family kLlama, kQwen2, kQwen3, kGemma3;

// nullptr when no family has that name.
const Family* FindFamily(std::string_view name);

// "llama, qwen2, ...": for messages.
const char* FamilyNames();

}  // namespace longshore
