// Finds the sampled queries nearest to a query, and so the keys that it will want.
//
// Queries are near queries, whatever keys are: the sampled ones are grouped around some of themselves, a search looks at the groups'
// leaders, then at the queries of the nearest groups.
#pragma once

#include <span>
#include <vector>

#include "engine/decode/key_graph.h"

namespace longshore {

class QueryRouter {
 public:
  // For a range of `keys` keys; `queries` [samples][row] bf16 in the order of `nearest`, of whose keys each query keeps the best few.
  void Build(const kernels::KernelTable& kernels, uint32_t keys, uint32_t row, std::vector<uint16_t> queries, const NearestKeys& nearest);
  bool empty() const { return leaders_.empty(); }
  uint64_t bytes() const { return (queries_.size() + doors_.size()) * 2 + (half_.size() + groups_.size() + leaders_.size()) * 4; }

  // Appends the keys wanted by the sampled queries nearest to q [row] (times any positive factor, which `scale` is). Returns how many queries were scored.
  uint32_t Doors(const kernels::KernelTable& kernels, const float* q, float scale, std::vector<uint16_t>* doors) const;

 private:
  struct Near {
    float distance;
    uint32_t index;
  };
  // Distances, up to what is the same for all, from q to the listed samples, nearest first.
  std::vector<Near> Order(const kernels::KernelTable& kernels, const float* q, float inverse_scale, std::span<const uint32_t> samples) const;

  uint32_t row_ = 0, doors_of_query_ = 0, followed_ = 0;
  std::vector<uint16_t> queries_;      // [samples][row]
  std::vector<float> half_;            // [samples] half of the squared length
  std::vector<uint16_t> doors_;        // [samples][doors_of_query]
  std::vector<uint32_t> leaders_;      // samples
  std::vector<uint32_t> starts_;       // [leaders + 1] in groups_
  std::vector<uint32_t> groups_;       // samples, group by group
};

}  // namespace longshore
