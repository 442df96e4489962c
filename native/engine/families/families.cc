#include "engine/families/family.h"

namespace longshore {
namespace {

constexpr const Family* kFamilies[] = {&kLlama, &kQwen2, &kQwen3, &kGemma3};

}  // namespace

const Family* FindFamily(std::string_view name) {
  for (const Family* f : kFamilies)
    if (name == f->name) return f;
  return nullptr;
}

const char* FamilyNames() { return "llama, qwen2, qwen3, gemma3"; }

}  // namespace longshore
