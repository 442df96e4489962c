// The part of a model's identity that is not its weights' bytes.
#pragma once

#include <string>

#include "engine/formats/hyperparameters.h"

namespace longshore {

// Canonical JSON (docs/design/0001-stored-block-format.md): keys sorted, no spaces, integers and booleans as such, other numbers
// as strings with the fewest digits that read back to the same value. Left out, since KV does not depend on them: name, context
// length, end tokens.
std::string ConfigJson(const std::string& family, const Hyperparameters& hyperparameters);

}  // namespace longshore
