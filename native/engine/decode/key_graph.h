// A navigable graph over one range of cached keys of one layer and KV head (docs/design/0026).
//
// Off-the-shelf vector indexes link keys that are near each other, and queries are not near keys. Here keys are linked when the same
// query wants both (RetrievalAttention, Liu et al. 2024; the projection is RoarGraph's, Chen et al., VLDB 2024), then each key with
// what lies near it, so that a search can also climb. It starts at the keys that the sampled queries nearest to its query want (QueryRouter).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/aligned_buffer.h"
#include "kernels/kernels.h"

namespace longshore {

constexpr uint32_t kGraphKeys = 1u << 16;  // of one graph at most

// The sampled queries of a range and the keys that score best with each, best first.
struct NearestKeys {
  uint32_t samples = 0, count = 0;  // keys a sample
  std::vector<uint16_t> keys;       // [samples][count]
};

class KeyGraph {
 public:
  // `keys` keys in rows of `row` bf16 (a multiple of 16) for the caller to fill, then to link.
  Status Allocate(uint32_t keys, uint32_t row, uint32_t degree);
  uint16_t* row(uint32_t key) { return rows_.as<uint16_t>() + size_t{key} * row_; }
  const uint16_t* row(uint32_t key) const { return rows_.as<uint16_t>() + size_t{key} * row_; }
  uint32_t row_width() const { return row_; }
  uint32_t keys() const { return keys_; }
  uint64_t bytes() const { return rows_.size() + (links_.size() + entries_.size()) * sizeof(uint16_t); }

  // Links keys that the same queries want, and keys near each other. Deterministic.
  void Link(const kernels::KernelTable& kernels, const NearestKeys& nearest);

  // Where a search without sampled queries starts: keys that most queries want, and keys at even distances.
  std::span<const uint16_t> entries() const { return entries_; }
  // Padded with the key itself.
  std::span<const uint16_t> links(uint32_t key) const { return {&links_[size_t{key} * degree_], degree_}; }

 private:
  void ChooseEntries(const NearestKeys& nearest);

  uint32_t keys_ = 0, row_ = 0, degree_ = 0;
  AlignedBuffer rows_;            // [keys][row]
  std::vector<uint16_t> links_;   // [keys][degree]
  std::vector<uint16_t> entries_;
};

}  // namespace longshore
