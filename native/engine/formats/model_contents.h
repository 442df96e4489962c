// What a reader has understood of a model file before the checks that all formats share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/formats/hyperparameters.h"
#include "engine/formats/metadata.h"
#include "engine/formats/weights.h"
#include "engine/status.h"

namespace longshore {

struct ModelContents {
  std::string container;  // "gguf", "safetensors"
  std::string family;
  Hyperparameters hyperparameters;
  std::vector<Tensor> tensors;  // canonical names
  Metadata metadata;
  std::vector<std::unique_ptr<uint8_t[]>> copies;  // of tensors that the file stores unaligned
};

// Sorts the tensors, derives what they tell (vocab, biases, QK norm, tied embeddings), checks hyperparameters and shapes, and
// copies unaligned tensors. Errors: kCorrupt, kUnsupported, kOutOfMemory.
Status FinishModel(ModelContents* model);

}  // namespace longshore
