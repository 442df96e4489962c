// Gemma 3 (text): sliding layers with an own RoPE base between layers that see everything, an RMS norm on each query and key head and
// on both sides of attention and MLP, embeddings times sqrt(hidden), a GELU gate.
#include "engine/families/family.h"

namespace longshore {
namespace {

Status Check(const Hyperparameters& h) {
  if (!h.qk_norm) return {Code::kCorrupt, "a gemma3 model without blk.N.attn_q_norm.weight and attn_k_norm.weight"};
  if (!h.post_norms) return {Code::kCorrupt, "a gemma3 model without blk.N.post_attention_norm.weight and post_ffw_norm.weight"};
  if (h.sliding_window == 0) return {Code::kCorrupt, "a gemma3 model without the length of its sliding window"};
  return Status::Ok();
}

}  // namespace

const Family kGemma3 = {"gemma3", true, false, Check, true, true, Gate::kGelu};

}  // namespace longshore
