// One block of one layer through a codec and back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv/codec.h"

namespace longshore::test {

template <KvCodec kCodec>
struct BlockCoder {
  KvShape shape;
  uint32_t tokens;
  const CodecKernels* kernels = SelectCodecKernels("auto");

  std::vector<uint8_t> Encode(std::span<const uint8_t> raw) const {
    std::vector<uint8_t> out(MostBlockBytes(kCodec, shape, tokens)), scratch(CodecScratchBytes(kCodec, shape));
    out.resize(EncodeBlock(kCodec, shape, tokens, raw, out, scratch, *kernels));
    return out;
  }
  bool Decode(std::span<const uint8_t> encoded, std::span<uint8_t> raw) const {
    std::vector<uint8_t> scratch(CodecScratchBytes(kCodec, shape));
    return DecodeBlock(kCodec, shape, tokens, encoded, raw, scratch, *kernels);
  }
  // Elements [K, V][kv_heads][tokens][head_dim]: how many, and the index of the first of an element's row and of its head.
  size_t count() const { return shape.RawBytes(tokens) / shape.element_bytes(); }
  size_t Row(size_t i) const { return i / shape.head_dim * shape.head_dim; }
  size_t Head(size_t i) const { return i / (size_t{tokens} * shape.head_dim) * tokens * shape.head_dim; }
};

}  // namespace longshore::test
