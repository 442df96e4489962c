// The architectures whose files the readers understand.
#pragma once

#include <string_view>

#include "engine/formats/hyperparameters.h"

namespace longshore {

struct Architecture {
  std::string_view hf_model_type;  // config.json's model_type
  std::string_view gguf_name;      // general.architecture; empty: GGUF files of it carry the family's name
  std::string_view family;
  RopeLayout gguf_rope_layout;     // HF folders are always half-split
  int head_dim_default;            // config.json without head_dim; 0: hidden / heads
};

// nullptr when unknown.
const Architecture* FindHfArchitecture(std::string_view model_type);
const Architecture* FindGgufArchitecture(std::string_view name);

// "llama, mistral, ...", for messages.
const char* SupportedArchitectures();

}  // namespace longshore
