// What every backend tells of a model's shape.
#pragma once

#include <string>

#include "engine/engine.h"
#include "engine/formats/hyperparameters.h"

namespace longshore {

// The fields of ModelInfo that the hyperparameters decide; those of the weights, the numerics and the policy are the backend's.
ModelInfo InfoOfShape(const Hyperparameters& h, std::string family);

}  // namespace longshore
