// vertical_slash: the columns and diagonals to which the block's last 64 queries give most of their mass.
//
// The query's own block and the one before it (the nearest diagonals) are read whole; a chosen diagonal reads the one or two
// blocks that it crosses, a chosen column outside those its key alone.
#include <algorithm>
#include <cmath>

#include "engine/sparse/block_attention.h"
#include "engine/sparse/select.h"

namespace longshore {
namespace {

constexpr uint32_t kEstimateRows = 64;
constexpr uint32_t kForcedColumns = 30;  // the first keys are always among the columns
constexpr uint32_t kLooksPerCheck = 64;

// Indices of the `count` largest of sums[0, n), unordered in `order`[0, result); ties go to the lower index.
size_t Largest(const float* sums, uint32_t n, uint32_t count, std::vector<uint32_t>* order) {
  order->resize(n);
  for (uint32_t i = 0; i < n; ++i) (*order)[i] = i;
  const size_t most = std::min(count, n);
  std::nth_element(order->begin(), order->begin() + static_cast<ptrdiff_t>(most), order->end(),
                   [sums](uint32_t a, uint32_t b) { return sums[a] != sums[b] ? sums[a] > sums[b] : a < b; });
  return most;
}

// Column and diagonal sums of the last rows' probabilities over the blocks before the unit's own. False when cancelled.
bool SumLines(const SparseLayer& layer, const QueryBlock& unit, uint32_t rows, float* columns, float* diagonals, UnitScratch* scratch) {
  const uint32_t skip = unit.rows - rows;
  // m and l over all blocks: the own one's are in the sum, the others come from looks.
  float m[kEstimateRows], l[kEstimateRows];
  std::copy_n(scratch->sum + skip, rows, m);
  std::copy_n(scratch->sum + kBlockTokens + skip, rows, l);
  for (uint32_t b = 0; b < unit.block; ++b) {
    if (b % kLooksPerCheck == 0 && layer.cancelled()) return false;
    layer.kernels->look(LookAtBlock(layer, unit, rows, b, scratch), nullptr, scratch->look_m, scratch->look_l);
    layer.kernels->merge(m, l, nullptr, scratch->look_m, scratch->look_l, nullptr, rows, 0);
  }
  for (uint32_t r = 0; r < rows; ++r) l[r] = 1.f / l[r];
  for (uint32_t b = 0; b < unit.block; ++b) {
    if (b % kLooksPerCheck == 0 && layer.cancelled()) return false;
    layer.kernels->look_lines(LookAtBlock(layer, unit, rows, b, scratch), m, l, columns + size_t{b} * kBlockTokens,
                              diagonals + size_t{b} * kBlockTokens);
  }
  scratch->selection.scanned += uint64_t{unit.block} * kBlockTokens * rows;
  return true;
}

}  // namespace

bool SelectByLines(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) {
  Selection& s = scratch->selection;
  if (unit.block > 0) s.always.push_back(unit.block - 1);
  s.always.push_back(unit.block);
  if (unit.block < 2) return true;
  const uint32_t own = unit.block * kBlockTokens, rows = std::min(kEstimateRows, unit.rows);
  const uint32_t last = unit.position + unit.rows - 1;
  float* columns = scratch->lines;                     // [own]
  float* diagonals = columns + own + 2 * kBlockTokens; // index key - row + rows - 1: distance last - index
  std::fill_n(columns, own, 0.f);
  std::fill_n(diagonals, own + kBlockTokens, 0.f);
  ScoreMeans(layer, unit, scratch);
  // The own block alone is what the looks do not cover.
  const uint32_t self[] = {unit.block};
  if (!AttendBlocks(layer, unit, self, scratch)) return false;
  if (!SumLines(layer, unit, rows, columns, diagonals, scratch)) return false;
  scratch->started = false;

  uint8_t* keep = scratch->keep;
  std::fill_n(keep, unit.block, uint8_t{0});
  const uint32_t lines = own + rows - 1;  // diagonals of index [0, lines)
  const size_t slashes = Largest(diagonals, lines, policy.slash, &scratch->order);
  for (size_t i = 0; i < slashes; ++i) {
    const uint32_t distance = last - scratch->order[i];
    // Keys [own - distance, own + 127 - distance] of the block's 128 rows.
    if (own + kBlockTokens - 1 < distance) continue;
    const uint32_t high = (own + kBlockTokens - 1 - distance) / kBlockTokens;
    if (high < unit.block) keep[high] = 1;
    if (own >= distance && (own - distance) / kBlockTokens < unit.block) keep[(own - distance) / kBlockTokens] = 1;
  }
  keep[unit.block - 1] = 0;
  for (uint32_t b = 0; b + 1 < unit.block; ++b)
    if (keep[b]) s.kept.push_back(b);
  keep[unit.block - 1] = 1;
  std::fill_n(columns, std::min(kForcedColumns, own), HUGE_VALF);
  const size_t verticals = Largest(columns, own, policy.vertical, &scratch->order);
  for (size_t i = 0; i < verticals; ++i)
    if (!keep[scratch->order[i] / kBlockTokens]) s.columns.push_back(scratch->order[i]);
  std::sort(s.columns.begin(), s.columns.end());
  return true;
}

}  // namespace longshore
