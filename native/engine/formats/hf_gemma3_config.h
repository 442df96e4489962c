// What config.json says of Gemma 3 beyond the fields that all families have.
#pragma once

#include "engine/formats/config_members.h"
#include "engine/formats/hyperparameters.h"
#include "engine/formats/json.h"
#include "engine/status.h"

namespace longshore {

// Field names and defaults: transformers' configuration_gemma3.py (Gemma3TextConfig). kUnsupported for soft caps, bidirectional
// attention, other activations, layer types without a period and RoPE scaling of sliding layers; kCorrupt for wrong types.
Status ReadHfGemma3(const JsonValue& config, Members* members, Hyperparameters* h);

}  // namespace longshore
