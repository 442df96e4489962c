// What the kernels' tests share: the tables this machine can run, and a packed group's values read back.
#pragma once

#include <cstring>
#include <vector>

#include "engine/formats/half.h"
#include "kernels/kernels.h"

namespace longshore::test {

inline std::vector<const kernels::KernelTable*> Tables() {
  std::vector<const kernels::KernelTable*> tables;
  for (const char* isa : {"portable", "avx2", "avx512"})
    if (const kernels::KernelTable* t = kernels::SelectKernels(isa)) tables.push_back(t);
  return tables;
}

// Weight k (of the panel) of an output lane.
inline float PackedWeight(const kernels::QuantFormat& f, const uint8_t* panel, uint32_t lane, uint32_t k) {
  const uint8_t* group = panel + k / f.group * f.group_bytes();
  const auto value = [&](uint32_t which) {
    const uint8_t* p = group + f.quant_bytes() + (which * 16 + lane) * f.scale_bytes;
    uint16_t half;
    float full;
    std::memcpy(&half, p, 2);
    if (f.scale_bytes == 2) return F16ToF32(half);
    std::memcpy(&full, p, 4);
    return full;
  };
  const float q = static_cast<float>(static_cast<int>(kernels::GetQuant(f, group, lane, k % f.group)) - f.offset);
  return f.has_minimum ? value(0) * q + value(1) : value(0) * q;
}

}  // namespace longshore::test
