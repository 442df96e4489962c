// Qwen3 (dense): Llama's graph with an explicit head_dim and an RMS norm on each query and key head.
#include "engine/families/family.h"

namespace longshore {
namespace {

Status Check(const Hyperparameters& h) {
  if (!h.qk_norm) return {Code::kCorrupt, "a qwen3 model without blk.N.attn_q_norm.weight and attn_k_norm.weight"};
  return Status::Ok();
}

}  // namespace

const Family kQwen3 = {"qwen3", true, false, Check};

}  // namespace longshore
