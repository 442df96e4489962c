// The shapes that canonical tensor names promise (weights.h).
#pragma once

#include <span>

#include "engine/formats/hyperparameters.h"
#include "engine/formats/weights.h"
#include "engine/status.h"

namespace longshore {

// kCorrupt where a tensor with a canonical name has another shape, or names a layer that the model does not have.
Status CheckShapes(const Hyperparameters& hyperparameters, std::span<const Tensor> tensors);

}  // namespace longshore
