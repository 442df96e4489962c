// What a GGUF file says about its tokenizer: its tokenizer.* keys with their types checked.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "engine/formats/metadata.h"

namespace longshore {

// Pointers and views into the ModelFile; nullptr or empty where the key is absent or of another type.
struct TokenizerMetadata {
  std::string_view model;
  std::optional<std::string_view> pre, chat_template;
  const std::vector<std::string_view>* tokens = nullptr;
  const std::vector<std::string_view>* merges = nullptr;
  const std::vector<double>* scores = nullptr;
  const std::vector<int64_t>* token_types = nullptr;
  std::optional<double> bos_id, eos_id, eot_id, unk_id, pad_id;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

// Nothing unless both tokenizer.ggml.model and tokenizer.ggml.tokens are there.
std::optional<TokenizerMetadata> TokenizerOf(const Metadata& metadata);

}  // namespace longshore
