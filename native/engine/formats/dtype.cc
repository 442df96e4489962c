#include "engine/formats/dtype.h"

namespace longshore {
namespace {

struct Entry {
  DType dtype;
  DTypeTraits traits;
};

constexpr Entry kEntries[] = {
    {DType::kF32, {"F32", 1, 4, 4}},      {DType::kF16, {"F16", 1, 2, 2}},      {DType::kBf16, {"BF16", 1, 2, 2}},
    {DType::kQ4_0, {"Q4_0", 32, 18, 2}},  {DType::kQ4_1, {"Q4_1", 32, 20, 2}},  {DType::kQ5_0, {"Q5_0", 32, 22, 2}},
    {DType::kQ5_1, {"Q5_1", 32, 24, 2}},  {DType::kQ8_0, {"Q8_0", 32, 34, 2}},  {DType::kQ4_K, {"Q4_K", 256, 144, 2}},
    {DType::kQ5_K, {"Q5_K", 256, 176, 2}}, {DType::kQ6_K, {"Q6_K", 256, 210, 2}},
};

}  // namespace

const DTypeTraits* FindDTypeTraits(uint32_t dtype) {
  for (const Entry& e : kEntries) {
    if (static_cast<uint32_t>(e.dtype) == dtype) return &e.traits;
  }
  return nullptr;
}

const DTypeTraits& TraitsOf(DType dtype) {
  const DTypeTraits* traits = FindDTypeTraits(static_cast<uint32_t>(dtype));
  return traits != nullptr ? *traits : kEntries[0].traits;
}

}  // namespace longshore
