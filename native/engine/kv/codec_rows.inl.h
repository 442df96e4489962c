// The table of one instruction set.
#pragma once

#include "engine/kv/codec_rows.h"
#include "engine/kv/int8_rows.inl.h"
#include "engine/kv/lossless_rows.inl.h"

namespace longshore {
namespace {

constexpr CodecKernels CodecKernelsOf(const char* isa) {
  return {isa,
          {&EncodeInt8<uint16_t>, &DecodeInt8<uint16_t>, &LargestExponents<uint16_t>, &Split<uint16_t>, &Merge<uint16_t>},
          {&EncodeInt8<float>, &DecodeInt8<float>, &LargestExponents<uint32_t>, &Split<uint32_t>, &Merge<uint32_t>},
          &PackNibbles,
          &UnpackNibbles};
}

}  // namespace
}  // namespace longshore
