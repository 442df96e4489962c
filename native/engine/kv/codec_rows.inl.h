// The table of one instruction set.
#pragma once

#include "engine/kv/codec_rows.h"
#include "engine/kv/int4_rows.inl.h"
#include "engine/kv/int8_rows.inl.h"
#include "engine/kv/lossless_rows.inl.h"

namespace longshore {
namespace {

// T: the element as the quantizing codecs see it; Bits: as the lossless one does.
template <typename T, typename Bits>
constexpr CodecRows CodecRowsOf() {
  return {&EncodeInt8<T>,     &DecodeInt8<T>,     &LargestExponents<Bits>, &Split<Bits>,       &Merge<Bits>,         &ChannelRanges<T>,
          &TokenMagnitudes<T>, &QuantizeKeys<T>, &DequantizeKeys<T>,      &QuantizeValues<T>, &DequantizeValues<T>};
}

constexpr CodecKernels CodecKernelsOf(const char* isa) {
  return {isa, CodecRowsOf<uint16_t, uint16_t>(), CodecRowsOf<float, uint32_t>(), &PackNibbles, &UnpackNibbles, &TakeLowBits, &GiveLowBits};
}

}  // namespace
}  // namespace longshore
