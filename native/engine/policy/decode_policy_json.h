// The decode policy of a policy file.
#pragma once

#include <string_view>

#include "engine/decode/decode_policy.h"
#include "engine/formats/json.h"

namespace longshore {

// {"type": "dense"}, {"type": "sketch_topk", min_tokens, sink, window, rescore, min_rescore, keep, dense_layers, measure_every},
// {"type": "block_topk", min_tokens, sink, window, blocks, dense_layers, measure_every} or {"type": "graph", min_tokens, sink, window, beam, scan,
// sample, nearest, degree, keep, dense_layers, measure_every}; what is absent keeps DecodePolicy's default. Errors: ParsePolicy's.
Result<DecodePolicy> ReadDecodePolicy(const JsonValue& value);

// Such an object as JSON text, or a type's name alone: its defaults.
Result<DecodePolicy> ParseDecodePolicy(std::string_view text);

}  // namespace longshore
