#include "engine/sparse/tile_columns.h"

#include "engine/kv/bf16.h"

namespace longshore {

void CopyColumn(const KvPool& pool, const void* k, const void* v, uint32_t from, void* k_out, void* v_out, uint32_t to) {
  const uint32_t d = pool.shape().head_dim, padded = pool.padded();
  if (pool.shape().dtype == KvDtype::kF32) {
    for (uint32_t c = 0; c < d; ++c)
      static_cast<float*>(k_out)[size_t{c} * kBlockTokens + to] = static_cast<const float*>(k)[size_t{c} * kBlockTokens + from];
    if (v)
      for (uint32_t c = 0; c < d; ++c) static_cast<float*>(v_out)[size_t{to} * padded + c] = static_cast<const float*>(v)[size_t{from} * padded + c];
    return;
  }
  // A pair of channels is one word of K.
  for (uint32_t c = 0; c < d / 2; ++c)
    static_cast<uint32_t*>(k_out)[size_t{c} * kBlockTokens + to] = static_cast<const uint32_t*>(k)[size_t{c} * kBlockTokens + from];
  if (!v) return;
  const uint16_t* source = static_cast<const uint16_t*>(v) + size_t{from / 2} * padded * 2 + from % 2;
  uint16_t* target = static_cast<uint16_t*>(v_out) + size_t{to / 2} * padded * 2 + to % 2;
  for (uint32_t c = 0; c < d; ++c) target[2 * c] = source[2 * c];
}

void PutColumn(const KvPool& pool, const float* key, const float* value, void* k_out, void* v_out, uint32_t to) {
  const uint32_t d = pool.shape().head_dim, padded = pool.padded();
  if (pool.shape().dtype == KvDtype::kF32) {
    for (uint32_t c = 0; c < d; ++c) static_cast<float*>(k_out)[size_t{c} * kBlockTokens + to] = key[c];
    if (value)
      for (uint32_t c = 0; c < d; ++c) static_cast<float*>(v_out)[size_t{to} * padded + c] = value[c];
    return;
  }
  uint16_t* k = static_cast<uint16_t*>(k_out);
  for (uint32_t c = 0; c < d; ++c) k[(size_t{c / 2} * kBlockTokens + to) * 2 + c % 2] = Bf16OfFloat(key[c]);
  if (!value) return;
  uint16_t* v = static_cast<uint16_t*>(v_out) + size_t{to / 2} * padded * 2 + to % 2;
  for (uint32_t c = 0; c < d; ++c) v[2 * c] = Bf16OfFloat(value[c]);
}

}  // namespace longshore
