// Llama 1-3, SmolLM2, Mistral and others with their graph: RMS norm, RoPE, grouped queries, SwiGLU. Biases are optional.
#include "engine/families/family.h"

namespace longshore {
namespace {

Status Check(const Hyperparameters& h) {
  if (h.qk_norm) return {Code::kUnsupported, "a llama model with query and key norms: convert it as qwen3, or use a plain llama model"};
  if (h.post_norms) return {Code::kUnsupported, "a llama model with norms after attention and MLP: convert it as gemma3"};
  return Status::Ok();
}

}  // namespace

const Family kLlama = {"llama", false, false, Check};

}  // namespace longshore
