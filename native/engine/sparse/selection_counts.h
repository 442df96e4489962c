// How much of the causal scores a policy computes, per layer and head, and where the time goes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/sparse/query_block.h"

namespace longshore {

// Score entries: one query with one key.
struct SelectionCount {
  std::atomic<uint64_t> causal{0};    // that dense attention computes
  std::atomic<uint64_t> computed{0};  // with their values
  std::atomic<uint64_t> scanned{0};   // without: second look, estimate
  std::atomic<uint64_t> ns{0};        // thread time of choosing and attending; block means apart
};

struct SelectionCounts {
  SelectionCounts(uint32_t layers, uint32_t heads) : heads(heads), heads_of_layers(new SelectionCount[size_t{layers} * heads]) {}
  SelectionCount& at(uint32_t layer, uint32_t head) const { return heads_of_layers[size_t{layer} * heads + head]; }

  uint32_t heads;
  std::unique_ptr<SelectionCount[]> heads_of_layers;
  std::atomic<uint64_t> select_ns{0}, attend_ns{0};  // time of all threads: means, looks, choice; attention
};

class SelectionObserver {
 public:
  virtual ~SelectionObserver() = default;
  virtual void Selected(uint32_t layer, const QueryBlock& unit, const Selection& selection) = 0;
  // Before that, and before pruned blocks count by their means: scratch->sum holds the softmax over the selection; scratch->part is free.
  virtual void Attended(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
    (void)layer, (void)unit, (void)scratch;
  }
};

// Score entries that the unit's lists cover, and all of its causal ones.
inline uint64_t ComputedEntries(const QueryBlock& unit, const Selection& s) {
  const uint64_t before = (s.always.size() + s.kept.size() - 1) * uint64_t{kBlockTokens} + s.columns.size();
  const uint64_t first = unit.position % kBlockTokens;
  return before * unit.rows + unit.rows * (first + 1) + uint64_t{unit.rows} * (unit.rows - 1) / 2;
}
inline uint64_t CausalEntries(const QueryBlock& unit) {
  return uint64_t{unit.rows} * (unit.position + 1) + uint64_t{unit.rows} * (unit.rows - 1) / 2;
}

}  // namespace longshore
