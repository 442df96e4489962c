// Distances between the keys of a graph, and the choice of links that lead in different directions.
#pragma once

#include <vector>

#include "engine/decode/key_graph.h"

namespace longshore {

class KeyDistance {
 public:
  KeyDistance(const kernels::KernelTable& kernels, const KeyGraph& graph);

  // The key's difference from the mean of all; valid until the next call.
  const float* FromMean(uint32_t key);
  // Of the candidates, in their order, those to which no one chosen before is much nearer than the key itself; at most `most`.
  std::vector<uint16_t> Spread(uint32_t key, const std::vector<uint16_t>& candidates, uint32_t most);
  // The same, nearest candidates first; repetitions and the key itself may be among them.
  std::vector<uint16_t> SpreadNearest(uint32_t key, std::vector<uint16_t> candidates, uint32_t most);

 private:
  // Squared, from `key` to each; valid until the next call but one.
  void Distances(uint32_t key, const std::vector<uint16_t>& to, std::vector<float>* out);

  const kernels::KernelTable& kernels_;
  const KeyGraph& graph_;
  std::vector<float> mean_, squares_;  // [row]; [keys] of differences from the mean
  std::vector<float> row_, from_, between_;
  std::vector<const uint16_t*> rows_;
};

}  // namespace longshore
