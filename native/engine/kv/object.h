// The stored KV object (docs/design/0001-stored-block-format.md): a verified header, then one section per layer.
//
// Reading is bounded: nothing is allocated before the counts are checked (at most 4096 blocks and 1024 layers, so a parsed
// header takes under 200 KB), and sections are views into the given bytes. TypeScript's twin: core/src/block/.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv/chain.h"
#include "engine/kv/codec.h"
#include "engine/kv/shape.h"
#include "engine/status.h"

namespace longshore {

constexpr uint32_t kKvObjectFormat = 1;
constexpr uint32_t kMaxObjectBlocks = 4096;
constexpr uint32_t kMaxObjectLayers = 1024;
constexpr uint32_t kSealTagBytes = 16;

struct KvObjectHeader {
  bool sealed = false;
  Digest name_space{};
  Digest parent_hash{};
  uint32_t first_token = 0;  // a multiple of 128
  uint32_t tokens = 0;
  uint32_t layers = 0;
  KvShape shape;
  KvCodec codec = KvCodec::kRaw;
  std::array<uint8_t, 16> key_id{};
  std::array<uint8_t, 12> nonce_base{};
  std::vector<Digest> block_hashes;

  bool partial() const { return tokens % kBlockTokens != 0; }
  uint32_t block_tokens(size_t block) const {
    return block + 1 < block_hashes.size() || !partial() ? kBlockTokens : tokens % kBlockTokens;
  }
  // The most bytes of one layer's section before sealing; exactly its bytes where the codec's blocks have a fixed size.
  uint64_t most_section_bytes() const;
  uint64_t least_section_bytes() const;
};

struct KvObject {
  KvObjectHeader header;
  std::vector<std::span<const uint8_t>> sections;  // [layers], stored bytes (with the seal's tag when sealed)
};

// Verifies magic, version, counts, digest, that the section table is contiguous, within the codec's lengths and ends with the bytes,
// and every section's CRC. Sealed sections are returned sealed (opening them needs the tenant's key: the worker's part).
// Errors: kUnsupported (another version, codec or dtype), kCorrupt (anything that contradicts itself).
Result<KvObject> ParseKvObject(std::span<const uint8_t> bytes);

// kCorrupt unless the block hashes are those of `tokens` (header.tokens of them) after header.parent_hash.
Status VerifyKvChain(const KvObjectHeader& header, std::span<const uint32_t> tokens);

// Decodes one unsealed section into raw blocks back to back (header.shape.RawBytes(header.tokens) bytes in all).
// kCorrupt when the section is not the header's blocks.
Result<std::vector<uint8_t>> DecodeKvSection(const KvObjectHeader& header, std::span<const uint8_t> section);

// Header and sections back to back; `sections` are stored bytes. kInvalidArgument when they do not fit the header.
Result<std::vector<uint8_t>> WriteKvObject(const KvObjectHeader& header, std::span<const std::vector<uint8_t>> sections);

}  // namespace longshore
