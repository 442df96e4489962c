// Models without a file: the shape of a well-known model with random weights, for benchmarks.
#pragma once

#include <cstdint>
#include <string>

#include "engine/formats/hyperparameters.h"
#include "engine/status.h"

namespace longshore::cuda {

struct RandomShape {
  Hyperparameters hyperparameters;
  uint64_t seed = 0;
  float deviation = 0.02f;   // of every weight
  float query_scale = 1.f;   // of query and key weights besides: the larger, the more peaked is attention
};

bool NamesRandomShape(const std::string& path);

// "random:llama-3-8b" or "random:llama-3-8b,layers=4,seed=7,query_scale=1.5". kInvalidArgument names what it does not know.
Result<RandomShape> ParseRandomShape(const std::string& path);

}  // namespace longshore::cuda
