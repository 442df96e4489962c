// What head policies do to the attention of a real step, against dense attention over the same queries and keys.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace longshore {

struct MeasureRequest {
  // Policies to compare: built-in names, paths or policy JSON. Empty: the engine's own. The step itself always runs under the engine's own.
  std::vector<std::string> policies = {};
  uint32_t every = 1;  // of the aligned query blocks every which one is measured
  std::vector<std::pair<uint32_t, uint32_t>> maps = {};  // (layer, query head): where the mass lies, block by block
};

// Sums over the measured rows (queries) of one query head; those of several steps add up.
struct HeadMeasure {
  double rows = 0;
  double mass = 0;                                   // share of the softmax that was attended; pruned blocks' means do not count
  double low = 0;                                    // rows that keep less than 0.9
  double error2 = 0, norm2 = 0;                      // |output - dense output|^2, |dense output|^2
  double causal = 0, computed = 0, scanned = 0;      // score entries, as EngineStats has them
  double ns = 0;                                     // thread time of choosing and attending, block means apart
};

// One query block of one head: per key block the mean share of the rows' mass (dense attention), and whether the first policy reads it.
struct BlockMapRow {
  uint32_t layer, head, block;
  std::vector<float> mass;
  std::vector<uint8_t> read;
};

struct AttentionMeasures {
  uint32_t policies = 0, layers = 0, heads = 0;
  std::vector<HeadMeasure> measures;  // [policies][layers][heads]; sliding layers have no rows
  std::vector<BlockMapRow> maps;      // by query block, then in the request's order
};

}  // namespace longshore
