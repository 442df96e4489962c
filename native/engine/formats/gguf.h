// GGUF versions 2 and 3 (ggml-org/ggml docs/gguf.md), little-endian, single file.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/formats/metadata.h"
#include "engine/formats/model_contents.h"
#include "engine/formats/weights.h"
#include "engine/status.h"

namespace longshore {

struct GgufFile {
  uint32_t version = 0;
  Metadata metadata;
  std::vector<Tensor> tensors;  // in file order, names as stored; data point into the given bytes
};

// Parses the container only. Bounds: 64 MB of header (kMaxGgufHeaderBytes), 65536 key-values, kMaxTensors tensors; the result
// takes at most 8 bytes per header byte (small integers of arrays widen) plus 200 per tensor. Tensors must lie inside the
// file and not overlap. Views point into `bytes`, which must outlive the result.
Result<GgufFile> ParseGguf(std::span<const uint8_t> bytes);

// Parses a whole model: container, hyperparameters, shapes.
Result<ModelContents> ReadGgufModel(std::span<const uint8_t> bytes);

constexpr uint64_t kMaxGgufHeaderBytes = 64ull << 20;

}  // namespace longshore
