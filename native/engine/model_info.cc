#include "engine/model_info.h"

#include <algorithm>
#include <utility>

namespace longshore {

ModelInfo InfoOfShape(const Hyperparameters& h, std::string family) {
  ModelInfo info{};
  info.family = std::move(family);
  info.name = h.name;
  info.layers = h.layers;
  info.hidden = h.hidden;
  info.heads = h.heads;
  info.kv_heads = h.kv_heads;
  info.head_dim = h.head_dim;
  info.intermediate = h.intermediate;
  info.vocab = h.vocab;
  // Where a family's sliding layers are not known (full_attention_every), full attention is right up to the window only.
  info.context_length = h.sliding_window && h.full_attention_every == 0 ? std::min(h.context_length, h.sliding_window) : h.context_length;
  info.eos_ids = h.eos_ids;
  info.bos_id = h.bos_id;
  return info;
}

}  // namespace longshore
