// block_energy: the mass that a query block's rows give to each block's mean key, then a second look at what passed.
#include <algorithm>

#include "engine/sparse/block_attention.h"
#include "engine/sparse/select.h"

namespace longshore {
namespace {

// A row whose best key of a block is 2^-19 of its best so far gives the block at most 2^-12 of its mass: not worth exponentials.
constexpr float kNegligible = 19.f;
constexpr uint32_t kLooksPerCheck = 64;

bool SecondLook(const SparseLayer& layer, const QueryBlock& unit, float tau, UnitScratch* scratch) {
  Selection& s = scratch->selection;
  if (s.kept.empty()) return true;
  if (!AttendBlocks(layer, unit, s.always, scratch)) return false;
  const float *m0 = scratch->sum, *l0 = scratch->sum + kBlockTokens;
  float floor[kBlockTokens];
  for (uint32_t r = 0; r < unit.rows; ++r) floor[r] = m0[r] - kNegligible;
  const uint32_t count = static_cast<uint32_t>(s.kept.size());
  for (uint32_t i = 0; i < count; ++i) {
    if (i % kLooksPerCheck == 0 && layer.cancelled()) return false;
    const size_t row = size_t{i} * kBlockTokens;
    layer.kernels->look(LookAtBlock(layer, unit, unit.rows, s.kept[i], scratch), floor, scratch->look_m + row, scratch->look_l + row);
  }
  s.scanned += uint64_t{count} * kBlockTokens * unit.rows;
  layer.kernels->keep_by_mass(m0, l0, scratch->look_m, scratch->look_l, unit.rows, count, tau, scratch->keep);
  size_t kept = 0;
  for (uint32_t i = 0; i < count; ++i)
    if (scratch->keep[i]) s.kept[kept++] = s.kept[i];
  s.kept.resize(kept);
  return true;
}

}  // namespace

bool SelectByEnergy(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) {
  ScoreMeans(layer, unit, scratch);
  const float* energy = scratch->energy;
  float least = 0.f;
  // The energy of a few rows, a prompt's last ones say, misses what a single row looks for: a block that is not computed whole
  // passes everything on. It is provisional anyway, and its cost is small.
  if (unit.rows == kBlockTokens) {
    layer.kernels->energies(scratch->mean_scores, unit.rows, unit.block + 1, scratch->energy);
    least = policy.alpha * *std::max_element(energy, energy + unit.block + 1);
  }
  const uint32_t sink = (policy.sink + kBlockTokens - 1) / kBlockTokens, window = (policy.window + kBlockTokens - 1) / kBlockTokens;
  for (uint32_t b = 0; b <= unit.block; ++b) {
    if (b < sink || unit.block - b < window) scratch->selection.always.push_back(b);
    else if (least == 0.f || energy[b] >= least) scratch->selection.kept.push_back(b);
  }
  return policy.tau > 0.f ? SecondLook(layer, unit, policy.tau, scratch) : true;
}

}  // namespace longshore
