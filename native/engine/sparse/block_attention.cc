#include "engine/sparse/block_attention.h"

#include <algorithm>
#include <array>

#include "engine/sparse/tile_columns.h"

namespace longshore {
namespace {

constexpr uint32_t kPieceTiles = 32;  // about a millisecond of work between looks at the cancel flag

// The part just computed joins the sum; the first one is the sum.
void Join(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
  if (!scratch->started) {
    std::swap(scratch->sum, scratch->part);
    scratch->started = true;
    return;
  }
  const auto split = [&](float* p) { return std::array<float*, 3>{p, p + kBlockTokens, p + 2 * kBlockTokens}; };
  const auto [m, l, o] = split(scratch->sum);
  const auto [m2, l2, o2] = split(scratch->part);
  layer.kernels->merge(m, l, o, m2, l2, o2, unit.rows, layer.pool->padded());
}

// One tile of gathered keys that every row sees whole.
void AttendGathered(const SparseLayer& layer, const QueryBlock& unit, uint32_t count, UnitScratch* scratch) {
  kernels::Attend a = UnitAttend(layer, unit, *scratch, scratch->part);
  const void *k = scratch->k_tile, *v = scratch->v_tile;
  const uint32_t first = 0;
  a.tiles = 1;
  a.k_tiles = &k;
  a.v_tiles = &v;
  a.first_keys = &first;
  a.key_counts = &count;
  layer.kernels->attend[static_cast<size_t>(layer.kind)](a);
}

}  // namespace

void LoadQueries(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
  const uint32_t d = layer.head_dim();
  for (uint32_t r = 0; r < unit.rows; ++r)
    for (uint32_t c = 0; c < d; ++c) scratch->q[size_t{r} * d + c] = unit.q[r * unit.q_stride + c] * layer.scale;
  if (layer.kernels->attend_reads_bf16) layer.kernels->to_bf16(scratch->q, (unit.rows * d + 15) / 16 * 16, scratch->q_bf16);
  scratch->q8_ready = scratch->started = false;
}

kernels::Attend UnitAttend(const SparseLayer& layer, const QueryBlock& unit, const UnitScratch& scratch, float* part) {
  kernels::Attend a{};
  a.q = scratch.q;
  a.q_bf16 = scratch.q_bf16;
  a.rows = unit.rows;
  a.group = 1;
  a.position = unit.position;
  a.head_dim = layer.head_dim();
  a.padded = layer.pool->padded();
  a.scores = scratch.scores;
  a.probabilities = scratch.probabilities;
  a.m = part;
  a.l = part + kBlockTokens;
  a.o = part + 2 * kBlockTokens;
  return a;
}

bool AttendBlocks(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> blocks, UnitScratch* scratch) {
  const uint32_t kv_head = unit.head / layer.group;
  for (size_t first = 0; first < blocks.size(); first += kPieceTiles) {
    if (layer.cancelled()) return false;
    const void *k[kPieceTiles], *v[kPieceTiles];
    uint32_t keys[kPieceTiles];
    kernels::Attend a = UnitAttend(layer, unit, *scratch, scratch->part);
    a.tiles = static_cast<uint32_t>(std::min<size_t>(kPieceTiles, blocks.size() - first));
    for (uint32_t i = 0; i < a.tiles; ++i) {
      const uint32_t physical = unit.item->block_table[blocks[first + i]];
      k[i] = layer.pool->KTile(physical, layer.layer, kv_head);
      v[i] = layer.pool->VTile(physical, layer.layer, kv_head);
      keys[i] = blocks[first + i] * kBlockTokens;
    }
    a.k_tiles = k;
    a.v_tiles = v;
    a.first_keys = keys;
    layer.kernels->attend[static_cast<size_t>(layer.kind)](a);
    Join(layer, unit, scratch);
  }
  return true;
}

bool AttendColumns(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> keys, UnitScratch* scratch) {
  const uint32_t kv_head = unit.head / layer.group;
  for (size_t first = 0; first < keys.size(); first += kBlockTokens) {
    if (layer.cancelled()) return false;
    const uint32_t count = static_cast<uint32_t>(std::min<size_t>(kBlockTokens, keys.size() - first));
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t key = keys[first + i], physical = unit.item->block_table[key / kBlockTokens];
      CopyColumn(*layer.pool, layer.pool->KTile(physical, layer.layer, kv_head), layer.pool->VTile(physical, layer.layer, kv_head), key % kBlockTokens,
                 scratch->k_tile, scratch->v_tile, i);
    }
    AttendGathered(layer, unit, count, scratch);
    Join(layer, unit, scratch);
  }
  return true;
}

bool AttendMeans(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> blocks, UnitScratch* scratch) {
  constexpr float kLog2BlockTokens = 7.f;
  static_assert(kBlockTokens == 128);
  for (size_t first = 0; first < blocks.size(); first += kBlockTokens) {
    if (layer.cancelled()) return false;
    const uint32_t count = static_cast<uint32_t>(std::min<size_t>(kBlockTokens, blocks.size() - first));
    layer.means->Pick(unit.head / layer.group, blocks.data() + first, count, scratch->k_tile, scratch->v_tile);
    AttendGathered(layer, unit, count, scratch);
    for (uint32_t r = 0; r < unit.rows; ++r) scratch->part[r] += kLog2BlockTokens;
    Join(layer, unit, scratch);
  }
  return true;
}

void StoreOutput(const SparseLayer& layer, const QueryBlock& unit, const UnitScratch& scratch, float* out, size_t stride) {
  const uint32_t d = layer.head_dim(), padded = layer.pool->padded();
  const float* l = scratch.sum + kBlockTokens;
  for (uint32_t r = 0; r < unit.rows; ++r) {
    const float* o = scratch.sum + 2 * kBlockTokens + size_t{r} * padded;
    const float inverse = 1.f / l[r];
    for (uint32_t c = 0; c < d; ++c) out[r * stride + c] = o[c] * inverse;
  }
}

}  // namespace longshore
