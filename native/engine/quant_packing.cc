#include "engine/quant_packing.h"

#include <cstring>

#include "engine/formats/half.h"
#include "engine/formats/quant_blocks.h"

namespace longshore {
namespace {

using kernels::kPanelOutputs;
using kernels::PutQuant;
using kernels::QuantFormat;

// Cursor over the groups of one lane of a panel.
class Lane {
 public:
  Lane(const QuantFormat& format, uint32_t lane, uint8_t* panel) : format_(format), lane_(lane), group_(panel) {}

  void Quant(uint32_t k, uint32_t q) { PutQuant(format_, group_, lane_, k, static_cast<uint8_t>(q)); }
  void HalfScale(uint16_t bits) { Put(0, &bits, 2); }
  void HalfMinimum(uint16_t bits) { Put(kPanelOutputs * 2, &bits, 2); }
  void Scale(float x) { Put(0, &x, 4); }
  void Minimum(float x) { Put(kPanelOutputs * 4, &x, 4); }
  void Next() { group_ += format_.group_bytes(); }

 private:
  void Put(size_t offset, const void* value, size_t bytes) {
    std::memcpy(group_ + format_.quant_bytes() + offset + lane_ * bytes, value, bytes);
  }
  const QuantFormat& format_;
  uint32_t lane_;
  uint8_t* group_;
};

uint32_t Nibble(const uint8_t* qs, uint32_t i) { return i < 16 ? qs[i] & 15u : qs[i - 16] >> 4; }
uint32_t FifthBit(const uint8_t* qh, uint32_t i) { return (qh[i / 8] >> (i % 8) & 1u) << 4; }

void Pack(const BlockQ4_0& b, Lane& lane) {
  lane.HalfScale(b.d);
  for (uint32_t i = 0; i < 32; ++i) lane.Quant(i, Nibble(b.qs, i));
  lane.Next();
}

void Pack(const BlockQ4_1& b, Lane& lane) {
  lane.HalfScale(b.d);
  lane.HalfMinimum(b.m);
  for (uint32_t i = 0; i < 32; ++i) lane.Quant(i, Nibble(b.qs, i));
  lane.Next();
}

void Pack(const BlockQ5_0& b, Lane& lane) {
  lane.HalfScale(b.d);
  for (uint32_t i = 0; i < 32; ++i) lane.Quant(i, Nibble(b.qs, i) | FifthBit(b.qh, i));
  lane.Next();
}

void Pack(const BlockQ5_1& b, Lane& lane) {
  lane.HalfScale(b.d);
  lane.HalfMinimum(b.m);
  for (uint32_t i = 0; i < 32; ++i) lane.Quant(i, Nibble(b.qs, i) | FifthBit(b.qh, i));
  lane.Next();
}

void Pack(const BlockQ8_0& b, Lane& lane) {
  lane.HalfScale(b.d);
  for (uint32_t i = 0; i < 32; ++i) lane.Quant(i, static_cast<uint32_t>(b.qs[i] + 128));
  lane.Next();
}

template <typename Block>
void PackSubBlocks(const Block& b, Lane& lane) {
  for (int j = 0; j < 8; ++j) {
    uint8_t scale, minimum;
    UnpackScaleMin(b.scales, j, &scale, &minimum);
    lane.Scale(F16ToF32(b.d) * scale);
    lane.Minimum(-(F16ToF32(b.dmin) * minimum));
    for (uint32_t i = 0; i < 32; ++i) {
      uint32_t q = b.qs[j / 2 * 32 + i] >> (j % 2 * 4) & 15u;
      if constexpr (requires { b.qh; }) q |= (b.qh[i] >> j & 1u) << 4;
      lane.Quant(i, q);
    }
    lane.Next();
  }
}
void Pack(const BlockQ4_K& b, Lane& lane) { PackSubBlocks(b, lane); }
void Pack(const BlockQ5_K& b, Lane& lane) { PackSubBlocks(b, lane); }

void Pack(const BlockQ6_K& b, Lane& lane) {
  for (uint32_t j = 0; j < 16; ++j) {
    lane.Scale(F16ToF32(b.d) * static_cast<float>(b.scales[j]));
    for (uint32_t i = 0; i < 16; ++i) {
      // Half h holds weights 128h + 32s + l, s = 0..3: low bits in ql[64h + 32(s%2) + l] (low nibble for s < 2), high ones
      // in bits 2s of qh[32h + l].
      const uint32_t w = 16 * j + i, h = w / 128, s = w % 128 / 32, l = w % 32;
      const uint32_t low = b.ql[64 * h + 32 * (s % 2) + l] >> (s / 2 * 4) & 15u;
      lane.Quant(i, low | (b.qh[32 * h + l] >> (2 * s) & 3u) << 4);
    }
    lane.Next();
  }
}

template <typename Block>
void PackBlocks(const uint8_t* row, uint32_t blocks, Lane lane) {
  const Block* b = reinterpret_cast<const Block*>(row);
  for (uint32_t i = 0; i < blocks; ++i) Pack(b[i], lane);
}

}  // namespace

QuantFormat QuantFormatOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0: return {4, 32, 2, false, 8};
    case DType::kQ4_1: return {4, 32, 2, true, 0};
    case DType::kQ5_0: return {7, 32, 2, false, 16};
    case DType::kQ5_1: return {7, 32, 2, true, 0};
    case DType::kQ8_0: return {8, 32, 2, false, 128};
    case DType::kQ4_K: return {4, 32, 4, true, 0};
    case DType::kQ5_K: return {7, 32, 4, true, 0};
    case DType::kQ6_K: return {7, 16, 4, false, 32};
    default: return {0, 0, 0, false, 0};
  }
}

void PackQuantRow(DType dtype, const uint8_t* row, uint32_t k, uint32_t lane, uint8_t* panel) {
  const QuantFormat format = QuantFormatOf(dtype);
  const uint32_t blocks = k / TraitsOf(dtype).block_elements;
  const Lane to(format, lane, panel);
  switch (dtype) {
    case DType::kQ4_0: return PackBlocks<BlockQ4_0>(row, blocks, to);
    case DType::kQ4_1: return PackBlocks<BlockQ4_1>(row, blocks, to);
    case DType::kQ5_0: return PackBlocks<BlockQ5_0>(row, blocks, to);
    case DType::kQ5_1: return PackBlocks<BlockQ5_1>(row, blocks, to);
    case DType::kQ8_0: return PackBlocks<BlockQ8_0>(row, blocks, to);
    case DType::kQ4_K: return PackBlocks<BlockQ4_K>(row, blocks, to);
    case DType::kQ5_K: return PackBlocks<BlockQ5_K>(row, blocks, to);
    case DType::kQ6_K: return PackBlocks<BlockQ6_K>(row, blocks, to);
    default: return;
  }
}

}  // namespace longshore
