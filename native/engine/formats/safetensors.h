// safetensors (huggingface/safetensors): u64 header length, a JSON header, then the tensors' bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/formats/weights.h"
#include "engine/status.h"

namespace longshore {

// Tensors of types F32, F16 and BF16, names as stored, sorted; data point into `bytes`, which must outlive the result. A tensor of
// another type makes the file kUnsupported. Bounds: ParseJson's for the header, kMaxTensors; tensors must lie inside the file,
// not overlap, and be exactly as long as their shape says.
Result<std::vector<Tensor>> ParseSafetensors(std::span<const uint8_t> bytes);

}  // namespace longshore
