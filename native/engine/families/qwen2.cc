// Qwen2 and Qwen2.5: Llama's graph with biases on Q, K and V.
#include "engine/families/family.h"

namespace longshore {
namespace {

Status Check(const Hyperparameters& h) {
  if (h.qk_norm) return {Code::kUnsupported, "a qwen2 model with query and key norms: qwen2 has none"};
  return Status::Ok();
}

}  // namespace

const Family kQwen2 = {"qwen2", false, true, Check};

}  // namespace longshore
