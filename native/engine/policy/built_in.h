// Policies that come with the engine, as the text a file would hold.
#pragma once

#include <string_view>

#include "engine/formats/hyperparameters.h"

namespace longshore {

// "dense", "default" (dense: no model is known) and "block_energy", the settings of the needle model for any model. Empty for an unknown name.
std::string_view BuiltInPolicy(std::string_view name);

// What was measured for models of this shape (policy/models/*.json). Empty where nothing was.
std::string_view MeasuredPolicy(const Hyperparameters& model);

// "dense, default, ...": for messages.
const char* BuiltInPolicyNames();

}  // namespace longshore
