#include "engine/formats/architectures.h"

namespace longshore {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", "llama", "llama", RopeLayout::kInterleaved, 0},
    {"mistral", "", "llama", RopeLayout::kInterleaved, 0},
    {"qwen2", "qwen2", "qwen2", RopeLayout::kHalfSplit, 0},
    {"qwen3", "qwen3", "qwen3", RopeLayout::kHalfSplit, 128},
    {"gemma3_text", "gemma3", "gemma3", RopeLayout::kHalfSplit, 256},
};

}  // namespace

const Architecture* FindHfArchitecture(std::string_view model_type) {
  for (const Architecture& a : kArchitectures) {
    if (a.hf_model_type == model_type) return &a;
  }
  return nullptr;
}

const Architecture* FindGgufArchitecture(std::string_view name) {
  for (const Architecture& a : kArchitectures) {
    if (!a.gguf_name.empty() && a.gguf_name == name) return &a;
  }
  return nullptr;
}

const char* SupportedArchitectures() { return "llama, mistral, qwen2, qwen3, gemma3 (text)"; }

}  // namespace longshore
