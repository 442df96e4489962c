// How a decoded token attends to a long context.
#pragma once

#include <cstdint>

namespace longshore {

enum class DecodeKind : uint32_t { kDense, kSketchTopk, kBlockTopk, kGraph };

struct DecodePolicy {
  DecodeKind kind = DecodeKind::kDense;
  uint32_t min_tokens = 8192;      // contexts below it are dense
  uint32_t sink_tokens = 128, window_tokens = 256;  // always attended; rounded up to whole blocks
  float rescore = 0.005f;          // share of the other keys that is scored exactly (kSketchTopk, as the next two)
  uint32_t min_rescore = 64;       // keys
  float keep = 0.99f;              // of the mass of what was scored exactly; lighter keys' values are not read
  float blocks = 0.02f;            // share of the other blocks that is attended, by the score of their mean key (kBlockTopk)
  uint32_t beam = 128;             // keys that a search follows (kGraph, as the next four and `keep`)
  float scan = 0.035f;             // share of the keys that a search may score
  uint32_t sample = 16;            // a query in so many positions teaches the graph: 4, 8, ..., 128
  uint32_t nearest = 32;           // keys of each that are linked
  uint32_t degree = 32;            // links of a key
  uint32_t dense_layers = 0;       // the first layers that stay dense
  // Tokens at multiples of this position count the mass they keep, against every key's exact score: such a token takes as long as a
  // dense one. 0: none does. Changes no result.
  uint32_t measure_every = 4096;
};

}  // namespace longshore
