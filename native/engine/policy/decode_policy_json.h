// The decode policy of a policy file.
#pragma once

#include "engine/decode/decode_policy.h"
#include "engine/formats/json.h"

namespace longshore {

// {"type": "dense"}, {"type": "sketch_topk", min_tokens, sink, window, rescore, min_rescore, keep, dense_layers} or
// {"type": "block_topk", min_tokens, sink, window, blocks, dense_layers}; what is absent keeps DecodePolicy's default. Errors: ParsePolicy's.
Result<DecodePolicy> ReadDecodePolicy(const JsonValue& value);

}  // namespace longshore
