// What the fuzzers run: one function per reader. They take any bytes, must neither crash nor exceed the stated memory, and stop the
// process (Require) when a reader accepts something that breaks its promises. libFuzzer drives them in *_fuzz.cc;
// test/formats_hostile_test.cc replays the corpora with mutations where there is no libFuzzer.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "engine/formats/config_json.h"
#include "engine/formats/dequantize.h"
#include "engine/formats/gguf.h"
#include "engine/formats/hf_model.h"
#include "engine/formats/json.h"
#include "engine/formats/safetensors.h"
#include "engine/kv/crc32.h"
#include "engine/kv/object.h"
#include "engine/kv/sha256.h"

namespace longshore::fuzz {

// A broken promise of a reader. Aborts in every build, so that fuzzers and tests see it.
inline void Require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

inline void RequireTypedError(const Status& status) {
  Require(status.code() == Code::kCorrupt || status.code() == Code::kUnsupported, "a reader's error is corrupt or unsupported");
  Require(!status.message().empty() && status.message().size() < 2048, "an error says what is wrong, briefly");
}

// Reads each tensor's first and last row the way the engine will.
inline void ReadEdges(std::span<const Tensor> tensors, uint64_t file_bytes) {
  uint64_t total = 0;
  std::vector<float> row;
  for (const Tensor& tensor : tensors) {
    total += tensor.bytes;
    Require(tensor.data != nullptr && tensor.bytes > 0, "a tensor has bytes");
    Require(tensor.bytes == tensor.rows() * RowBytes(tensor.dtype, tensor.cols()), "a tensor is its rows");
    if (tensor.cols() > 1 << 16) continue;
    row.resize(tensor.cols());
    DequantizeRow(tensor.dtype, tensor.row(0), row.data(), row.size());
    DequantizeRow(tensor.dtype, tensor.row(tensor.rows() - 1), row.data(), row.size());
  }
  Require(total <= file_bytes, "tensors together are no larger than the file");
}

inline void CheckModel(const ModelContents& model, uint64_t file_bytes) {
  const Hyperparameters& h = model.hyperparameters;
  Require(h.layers >= 1 && h.heads >= 1 && h.kv_heads >= 1 && h.heads % h.kv_heads == 0, "heads are shared evenly");
  Require(h.rope_dims % 2 == 0 && h.rope_dims >= 2 && h.rope_dims <= h.head_dim, "RoPE rotates pairs of the head's channels");
  for (uint32_t id : h.eos_ids) Require(id < h.vocab, "end tokens are in the vocabulary");
  Require(ParseJson(ConfigJson(model.family, h)).ok(), "the canonical configuration is JSON");
  ReadEdges(model.tensors, file_bytes);
}

inline void Gguf(std::span<const uint8_t> bytes) {
  Result<ModelContents> model = ReadGgufModel(bytes);
  if (model.ok()) CheckModel(model.value(), bytes.size());
  else RequireTypedError(model.status());
  Result<GgufFile> file = ParseGguf(bytes);
  Require(file.ok() || !model.ok(), "a readable model is a readable container");
  if (file.ok()) ReadEdges(file.value().tensors, bytes.size());
}

inline void Safetensors(std::span<const uint8_t> bytes) {
  Result<std::vector<Tensor>> tensors = ParseSafetensors(bytes);
  if (tensors.ok()) ReadEdges(tensors.value(), bytes.size());
  else RequireTypedError(tensors.status());
}

inline void Json(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Result<JsonValue> value = ParseJson(text);
  if (!value.ok()) RequireTypedError(value.status());
  if (Result<std::vector<std::string>> names = ReadShardIndex(text); names.ok()) {
    for (const std::string& name : names.value()) Require(name.find('/') == std::string::npos, "a shard stays in its folder");
  } else {
    RequireTypedError(names.status());
  }
}

// Input: u16 length of config.json, u16 length of generation_config.json, both texts, then one shard.
inline void HfModel(std::span<const uint8_t> bytes) {
  if (bytes.size() < 4) return;
  const size_t config = std::min<size_t>(bytes[0] | bytes[1] << 8, bytes.size() - 4);
  const size_t generation = std::min<size_t>(bytes[2] | bytes[3] << 8, bytes.size() - 4 - config);
  const auto text = [&](size_t at, size_t length) { return std::string_view(reinterpret_cast<const char*>(bytes.data()) + at, length); };
  const std::span<const uint8_t> shard = bytes.subspan(4 + config + generation);
  Result<ModelContents> model = ReadHfModel({text(4, config), text(4 + config, generation), {shard}});
  if (model.ok()) CheckModel(model.value(), shard.size());
  else RequireTypedError(model.status());
}

inline void CheckKvObject(std::span<const uint8_t> bytes) {
  Result<KvObject> object = ParseKvObject(bytes);
  if (!object.ok()) return RequireTypedError(object.status());
  const KvObjectHeader& header = object.value().header;
  Require(object.value().sections.size() == header.layers, "one section per layer");
  if (header.sealed) return;
  for (const std::span<const uint8_t> section : object.value().sections) {
    Result<std::vector<uint8_t>> raw = DecodeKvSection(header, section);
    // Blocks that vary in size carry codes of their own, which a correct checksum does not vouch for.
    if (!raw.ok() && !HasFixedSize(header.codec)) RequireTypedError(raw.status());
    else Require(raw.ok() && raw.value().size() == header.shape.RawBytes(header.tokens), "a verified section decodes to its tokens");
  }
}

// Digest and checksums keep mutated bytes out, so the object is read a second time with both made right.
inline void KvObject(std::span<const uint8_t> bytes) {
  CheckKvObject(bytes);
  std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  if (copy.size() < 208) return;
  const auto u32 = [&](size_t at) {
    uint32_t value;
    std::memcpy(&value, copy.data() + at, 4);
    return value;
  };
  const uint64_t header = 208 + 32ull * u32(88) + 24ull * u32(96);
  if (u32(88) > kMaxObjectBlocks || u32(96) > kMaxObjectLayers || header > copy.size()) return;
  const uint32_t stated = static_cast<uint32_t>(header);
  std::memcpy(copy.data() + 8, &stated, 4);
  uint64_t offset = 0;
  for (uint64_t entry = 176 + 32ull * u32(88); entry < header - 32; entry += 24) {
    uint64_t length;
    std::memcpy(&length, copy.data() + entry + 8, 8);
    if (length > copy.size() - header - offset) break;
    const uint32_t crc = Crc32(std::span<const uint8_t>(copy).subspan(header + offset, length));
    std::memcpy(copy.data() + entry, &offset, 8);
    std::memcpy(copy.data() + entry + 16, &crc, 4);
    offset += length;
  }
  const Digest digest = Sha256Of(std::span<const uint8_t>(copy).first(header - 32));
  std::memcpy(copy.data() + header - 32, digest.data(), digest.size());
  CheckKvObject(copy);
}

}  // namespace longshore::fuzz
