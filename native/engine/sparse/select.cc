#include "engine/sparse/select.h"

#include <algorithm>

#include "engine/sparse/block_attention.h"

namespace longshore {
namespace {

uint32_t Blocks(uint32_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

void SelectShape(const QueryBlock& unit, const HeadPolicy& policy, Selection* selection) {
  for (uint32_t b = 0; b <= unit.block; ++b)
    if (policy.type == HeadPolicyType::kDense || b < Blocks(policy.sink) || unit.block - b < Blocks(policy.window)) selection->always.push_back(b);
}

// The blocks whose mean key is nearest the mean query; the query's own is one of them.
void SelectByMeans(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) {
  const uint32_t d = layer.head_dim(), kv_head = unit.head / layer.group;
  float* mean = scratch->part;
  for (uint32_t c = 0; c < d; ++c) {
    float sum = 0.f;
    for (uint32_t r = 0; r < unit.rows; ++r) sum += scratch->q[size_t{r} * d + c];
    mean[c] = sum / static_cast<float>(unit.rows);
  }
  uint16_t* mean_bf16 = static_cast<uint16_t*>(scratch->probabilities);
  if (layer.kernels->attend_reads_bf16) layer.kernels->to_bf16(mean, (d + 15) / 16 * 16, mean_bf16);
  for (uint32_t tile = 0; tile * kBlockTokens <= unit.block; ++tile) {
    kernels::Attend a = UnitAttend(layer, unit, *scratch, scratch->part);
    a.q = mean;
    a.q_bf16 = mean_bf16;
    a.rows = 1;
    a.scores = scratch->energy + size_t{tile} * kBlockTokens;
    const void* k = layer.means->KTile(kv_head, tile);
    a.k_tiles = &k;
    layer.kernels->score[static_cast<size_t>(layer.kind)](a, std::min(kBlockTokens, unit.block + 1 - tile * kBlockTokens));
  }
  std::vector<uint32_t>& order = scratch->order;
  order.clear();
  for (uint32_t b = 0; b < unit.block; ++b) order.push_back(b);
  const float* score = scratch->energy;
  const size_t more = std::min<size_t>(policy.top_k - 1, order.size());
  std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(more), order.end(),
                   [score](uint32_t a, uint32_t b) { return score[a] != score[b] ? score[a] > score[b] : a < b; });
  std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(more));
  Selection& s = scratch->selection;
  s.always.push_back(unit.block);
  s.kept.assign(order.begin(), order.begin() + static_cast<ptrdiff_t>(more));
}

}  // namespace

bool Select(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) {
  scratch->selection.Clear();
  switch (policy.type) {
    case HeadPolicyType::kDense:
    case HeadPolicyType::kAShape: SelectShape(unit, policy, &scratch->selection); return true;
    case HeadPolicyType::kBlockSparse: SelectByMeans(layer, unit, policy, scratch); return true;
    case HeadPolicyType::kBlockEnergy: return SelectByEnergy(layer, unit, policy, scratch);
    case HeadPolicyType::kVerticalSlash: return SelectByLines(layer, unit, policy, scratch);
  }
  return true;
}

void ScoreMeans(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
  const uint32_t kv_head = unit.head / layer.group;
  for (uint32_t tile = 0; tile * kBlockTokens <= unit.block; ++tile) {
    kernels::Attend a = UnitAttend(layer, unit, *scratch, scratch->part);
    a.scores = scratch->mean_scores + size_t{tile} * unit.rows * kBlockTokens;
    const void* k = layer.means->KTile(kv_head, tile);
    a.k_tiles = &k;
    layer.kernels->score[static_cast<size_t>(layer.kind)](a, std::min(kBlockTokens, unit.block + 1 - tile * kBlockTokens));
  }
}

kernels::Look LookAtBlock(const SparseLayer& layer, const QueryBlock& unit, uint32_t rows, uint32_t block, UnitScratch* scratch) {
  const uint32_t depth = layer.index->depth(), skip = unit.rows - rows;
  if (!scratch->q8_ready) {
    layer.kernels->quantize_rows(scratch->q, unit.rows, layer.head_dim(), depth, scratch->q8, scratch->q8_scale, scratch->q8_sum);
    scratch->q8_ready = true;
  }
  const float* scores = scratch->mean_scores + (size_t{block / kBlockTokens} * unit.rows + skip) * kBlockTokens + block % kBlockTokens;
  return {scratch->q8 + size_t{skip} * depth, scratch->q8_scale + skip, scratch->q8_sum + skip, rows, depth,
          layer.index->codes(unit.item->block_table[block], layer.layer, unit.head / layer.group), scores};
}

}  // namespace longshore
