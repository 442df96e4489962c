// Moves KV blocks between an engine's pool and stored sections, encoding and decoding on several threads, a layer each.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/kv/codec.h"
#include "engine/kv/seal.h"
#include "engine/status.h"

namespace longshore {

// Consecutive blocks of one chain, by their physical numbers.
struct KvRange {
  std::vector<uint32_t> blocks;
  KvCodec codec = KvCodec::kRaw;
  uint32_t first_token = 0;          // absolute index of blocks[0]'s first token, a multiple of 128
  uint32_t last_tokens = kBlockTokens;  // tokens in blocks.back(), 1..128

  uint32_t tokens(size_t block) const { return block + 1 < blocks.size() ? kBlockTokens : last_tokens; }
};

// Not std::vector: a section is megabytes that are about to be overwritten, and JavaScript takes the memory over.
struct Section {
  std::unique_ptr<uint8_t[]> data;
  size_t size = 0;
};

KvShape ShapeOf(const ModelInfo& info, KvDtype dtype);

// The most bytes of one layer's section; exactly its bytes where the codec's blocks have a fixed size.
uint64_t MostSectionBytes(const KvRange& range, const KvShape& shape);

// kInvalidArgument when the range is empty, longer than 4096 blocks, names a block twice or not below kv_blocks, or is not aligned.
Status CheckRange(const KvRange& range, uint32_t kv_blocks);

// One section per layer. No step may write these blocks meanwhile. Errors: CheckRange's, kOutOfMemory, ReadBlock's.
Result<std::vector<Section>> ExportBlocks(const Engine& engine, const KvRange& range, const KvShape& shape, uint32_t threads);

// The reverse. kCorrupt, before anything is written, unless there is one section per layer that consists of the range's blocks by
// their lengths; also kCorrupt when a block's bytes are not an encoder's, and then the blocks may hold anything.
Status ImportBlocks(Engine* engine, const KvRange& range, const KvShape& shape, std::span<const Section> sections, uint32_t threads);

// Wall time of both halves of ImportSealed.
struct SealedImport {
  double open_ms = 0;   // checksums, seals and lengths
  double write_ms = 0;  // decoding into the pool
};

// Opens a stored object's sections in place, every one of them, and only then imports the blocks behind its first `skip`;
// range.first_token is that of range.blocks[0]. kCorrupt, before anything is written, when a section is not what its checksum and
// seal say, or too short for these blocks.
Result<SealedImport> ImportSealed(Engine* engine, const KvRange& range, uint32_t skip, const KvShape& shape, const SealedObject& object,
                                  const SectionCipher& cipher, uint32_t threads);

}  // namespace longshore
