// Single keys of the pool's tiles: one column of K, one row of V.
#pragma once

#include <cstdint>

#include "engine/kv_pool.h"

namespace longshore {

// Copies key and value `from` of a tile to place `to` of another; v tiles may be null.
void CopyColumn(const KvPool& pool, const void* k, const void* v, uint32_t from, void* k_out, void* v_out, uint32_t to);

// The same from floats, rounded to the pool's type.
void PutColumn(const KvPool& pool, const float* key, const float* value, void* k_out, void* v_out, uint32_t to);

}  // namespace longshore
