// What one token's KV looks like in one layer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace longshore {

struct KvShape {
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  KvDtype dtype = KvDtype::kBf16;

  size_t element_bytes() const { return dtype == KvDtype::kF32 ? 4 : 2; }
  // Raw bytes of `tokens` tokens: [K then V][kv_heads][tokens][head_dim].
  size_t RawBytes(uint32_t tokens) const { return size_t{2} * kv_heads * tokens * head_dim * element_bytes(); }
};

}  // namespace longshore
