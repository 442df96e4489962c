// Sizes and places of tensors inside an untrusted file.
#pragma once

#include <cstdint>
#include <span>

#include "engine/formats/weights.h"
#include "engine/status.h"

namespace longshore {

// Fills tensor->bytes from dtype and shape. kCorrupt for 0 or more than 4 dimensions, a zero dimension, more than 2^40 elements,
// or a row that is not whole blocks.
Status MeasureTensor(Tensor* tensor);

// Sets each tensor's data to section.data() + offsets[i]. kCorrupt when one does not fit or two overlap, so the tensors' bytes
// add up to at most the section's size. offsets.size() == tensors.size().
Status PlaceInside(std::span<const uint8_t> section, std::span<const uint64_t> offsets, std::span<Tensor> tensors);

}  // namespace longshore
