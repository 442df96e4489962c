// MInference's best-pattern files: a list with, per layer, {"<head>": [type, a, b, score]}.
#pragma once

#include "engine/formats/json.h"
#include "engine/policy/attention_policy.h"

namespace longshore {

// vertical_and_slash a, b = columns and diagonals; stream_llm a, b = sink and window tokens; block_sparse reads 100 blocks of 64 keys
// whatever a and b say, as the library does. Errors: ParsePolicy's.
Result<AttentionPolicy> ReadMInferencePatterns(const JsonValue& list, uint32_t layers, uint32_t heads);

}  // namespace longshore
