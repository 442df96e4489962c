// Best-first search through the key graphs of a context.
#pragma once

#include <span>
#include <vector>

#include "engine/decode/key_graph.h"

namespace longshore {

// A graph, the position in the sequence of its first key, and the keys where a search starts (none: the graph's entries).
struct GraphPart {
  const KeyGraph* graph;
  uint32_t first;
  std::span<const uint16_t> doors;
};

// Working memory of a search; one per thread.
class GraphSearch {
 public:
  struct Found {
    float score;
    uint32_t key;  // position
  };

  // Scores with q [row] the doors of all parts (disjoint, in order), then the links of whatever scores best of all that was met and not
  // followed yet, of the best `beam` at most, until `most` keys were scored. The parts share the budget: it goes where the scores are.
  // Returns what was scored, in that order. Deterministic.
  std::span<const Found> Run(const kernels::KernelTable& kernels, std::span<const GraphPart> parts, const float* q, uint32_t beam, uint32_t most);
  uint32_t followed() const { return followed_; }  // keys whose links were read

  static bool Better(const Found& a, const Found& b) { return a.score != b.score ? a.score > b.score : a.key < b.key; }

 private:
  void Score(const kernels::KernelTable& kernels, const GraphPart& part, std::span<const uint16_t> keys, const float* q, uint32_t most);
  void Meet(const Found& found, uint32_t part, uint32_t beam);

  struct Met {
    Found found;
    uint32_t part;
    bool followed;
  };
  std::vector<Found> found_;
  std::vector<Met> beam_;               // best first
  std::vector<uint32_t> seen_;          // [positions] number of the last search that saw the key
  uint32_t number_ = 0, followed_ = 0;
  std::vector<uint32_t> listed_;
  std::vector<const uint16_t*> rows_;
  std::vector<float> scores_;
};

}  // namespace longshore
