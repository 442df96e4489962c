#include "engine/kv/object.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "engine/kv/crc32.h"

namespace longshore {
namespace {

constexpr size_t kFixedBytes = 176;
constexpr size_t kReservedAt = 148;
constexpr size_t kDigestBytes = 32;
constexpr size_t kLayerBytes = 24;
constexpr uint32_t kMaxDimension = 1024;
constexpr uint32_t kSealedFlag = 1, kPartialFlag = 2;
constexpr uint8_t kMagic[4] = {'L', 'S', 'K', 'V'};

size_t HeaderBytes(size_t blocks, size_t layers) { return kFixedBytes + kDigestBytes * blocks + kLayerBytes * layers + kDigestBytes; }

Status Corrupt(const std::string& why) { return {Code::kCorrupt, "stored KV object: " + why}; }

uint32_t GetU32(std::span<const uint8_t> bytes, size_t at) {
  return uint32_t{bytes[at]} | uint32_t{bytes[at + 1]} << 8 | uint32_t{bytes[at + 2]} << 16 | uint32_t{bytes[at + 3]} << 24;
}
uint64_t GetU64(std::span<const uint8_t> bytes, size_t at) { return GetU32(bytes, at) | uint64_t{GetU32(bytes, at + 4)} << 32; }

void PutU32(std::span<uint8_t> bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; i++) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}
void PutU64(std::span<uint8_t> bytes, size_t at, uint64_t value) {
  PutU32(bytes, at, static_cast<uint32_t>(value));
  PutU32(bytes, at + 4, static_cast<uint32_t>(value >> 32));
}

template <size_t N>
void GetBytes(std::span<const uint8_t> bytes, size_t at, std::array<uint8_t, N>* out) {
  std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), N, out->begin());
}

bool AllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

// Fields of a header whose length and digest have been verified.
Result<KvObjectHeader> ParseFields(std::span<const uint8_t> bytes, uint32_t blocks, uint32_t layers) {
  KvObjectHeader h;
  const uint32_t flags = GetU32(bytes, 12);
  if (flags > (kSealedFlag | kPartialFlag)) return Corrupt("unknown flags " + std::to_string(flags));
  h.sealed = flags & kSealedFlag;
  GetBytes(bytes, 16, &h.name_space);
  GetBytes(bytes, 48, &h.parent_hash);
  h.first_token = GetU32(bytes, 80);
  h.tokens = GetU32(bytes, 84);
  if (GetU32(bytes, 92) != kBlockTokens) return Status{Code::kUnsupported, "stored KV object: blocks of other than 128 tokens"};
  if (h.first_token % kBlockTokens != 0) return Corrupt("first token is not at a block's start");
  if (h.tokens == 0 || (uint64_t{h.tokens} + kBlockTokens - 1) / kBlockTokens != blocks) return Corrupt("token count contradicts block count");
  if (uint64_t{h.first_token} + h.tokens > UINT32_MAX) return Corrupt("token range overflows");
  if (h.partial() != ((flags & kPartialFlag) != 0)) return Corrupt("partial flag contradicts token count");
  h.layers = layers;
  h.shape.kv_heads = GetU32(bytes, 100);
  h.shape.head_dim = GetU32(bytes, 104);
  for (const uint32_t n : {h.shape.kv_heads, h.shape.head_dim}) {
    if (n < 1 || n > kMaxDimension) return Corrupt("absurd head count or dimension");
  }
  const uint32_t dtype = GetU32(bytes, 108), codec = GetU32(bytes, 112), parameter = GetU32(bytes, 116);
  if (dtype != 1 && dtype != 2) return Status{Code::kUnsupported, "stored KV object: unknown KV dtype " + std::to_string(dtype)};
  if (!KvCodecOfId(codec) || parameter != 0) {
    return Status{Code::kUnsupported, "stored KV object: unknown codec " + std::to_string(codec) + " with parameter " + std::to_string(parameter)};
  }
  h.shape.dtype = static_cast<KvDtype>(dtype);
  h.codec = static_cast<KvCodec>(codec);
  GetBytes(bytes, 120, &h.key_id);
  GetBytes(bytes, 136, &h.nonce_base);
  if (!h.sealed && (!AllZero(h.key_id) || !AllZero(h.nonce_base))) return Corrupt("key or nonce without a seal");
  if (!AllZero(bytes.subspan(kReservedAt, kFixedBytes - kReservedAt))) return Corrupt("reserved bytes are not zero");
  h.block_hashes.resize(blocks);
  for (size_t i = 0; i < blocks; i++) GetBytes(bytes, kFixedBytes + kDigestBytes * i, &h.block_hashes[i]);
  return h;
}

// Whether a section may take `length` stored bytes.
bool LengthFits(const KvObjectHeader& h, uint64_t length) {
  const uint64_t tag = h.sealed ? kSealTagBytes : 0;
  return length >= h.least_section_bytes() + tag && length <= h.most_section_bytes() + tag;
}

}  // namespace

uint64_t KvObjectHeader::most_section_bytes() const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < block_hashes.size(); i++) bytes += MostBlockBytes(BlockCodec(codec, first_token, i), shape, block_tokens(i));
  return bytes;
}

uint64_t KvObjectHeader::least_section_bytes() const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < block_hashes.size(); i++) bytes += LeastBlockBytes(BlockCodec(codec, first_token, i), shape, block_tokens(i));
  return bytes;
}

Result<KvObject> ParseKvObject(std::span<const uint8_t> bytes) {
  if (bytes.size() < HeaderBytes(1, 1)) return Corrupt("shorter than any header");
  if (std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) return Corrupt("wrong magic");
  const uint32_t version = GetU32(bytes, 4);
  if (version != kKvObjectFormat) {
    return Status{Code::kUnsupported, "stored KV object: format version " + std::to_string(version) + ", this build reads 1"};
  }
  const uint32_t blocks = GetU32(bytes, 88), layers = GetU32(bytes, 96);
  if (blocks < 1 || blocks > kMaxObjectBlocks || layers < 1 || layers > kMaxObjectLayers) return Corrupt("absurd block or layer count");
  const size_t header_bytes = HeaderBytes(blocks, layers);
  if (GetU32(bytes, 8) != header_bytes) return Corrupt("header length contradicts its counts");
  if (bytes.size() < header_bytes) return Corrupt("truncated header");
  Digest digest;
  GetBytes(bytes, header_bytes - kDigestBytes, &digest);
  if (Sha256Of(bytes.first(header_bytes - kDigestBytes)) != digest) return Corrupt("header digest differs");

  Result<KvObjectHeader> header = ParseFields(bytes, blocks, layers);
  if (!header.ok()) return header.status();
  KvObject object{std::move(header.value()), {}};
  uint64_t end = header_bytes;
  for (size_t l = 0; l < layers; l++) {
    const size_t at = kFixedBytes + kDigestBytes * blocks + kLayerBytes * l;
    const uint64_t length = GetU64(bytes, at + 8);
    if (GetU64(bytes, at) != end - header_bytes) return Corrupt("sections are not back to back");
    if (!LengthFits(object.header, length)) return Corrupt("a section's length contradicts shape and codec");
    if (length > bytes.size() - end) return Corrupt("truncated section of layer " + std::to_string(l));
    if (GetU32(bytes, at + 20) != 0) return Corrupt("reserved bytes are not zero");
    const auto section = bytes.subspan(end, length);
    if (Crc32(section) != GetU32(bytes, at + 16)) return Corrupt("checksum of layer " + std::to_string(l) + " differs");
    object.sections.push_back(section);
    end += length;
  }
  if (end != bytes.size()) return Corrupt("bytes after the last section");
  return object;
}

Status VerifyKvChain(const KvObjectHeader& header, std::span<const uint32_t> tokens) {
  if (tokens.size() != header.tokens) return Corrupt("holds another number of tokens");
  if (ChainHashes(header.parent_hash, tokens) != header.block_hashes) return Corrupt("block hashes are not those of the tokens");
  return Status::Ok();
}

Result<std::vector<uint8_t>> DecodeKvSection(const KvObjectHeader& header, std::span<const uint8_t> section) {
  // Before the memory: what is decoded to is at most a small multiple of what is there.
  if (section.size() < header.least_section_bytes()) return Corrupt("a section's length contradicts shape and codec");
  std::vector<uint8_t> raw(header.shape.RawBytes(header.tokens)), scratch(CodecScratchBytes(header.codec, header.shape));
  auto out = std::span(raw);
  for (size_t i = 0; i < header.block_hashes.size(); i++) {
    const uint32_t tokens = header.block_tokens(i);
    const KvCodec codec = BlockCodec(header.codec, header.first_token, i);
    const size_t stored = BlockBytesAt(codec, header.shape, tokens, section), bytes = header.shape.RawBytes(tokens);
    if (stored == 0) return Corrupt("a section's length contradicts shape and codec");
    if (!DecodeBlock(codec, header.shape, tokens, section.first(stored), out.first(bytes), scratch, *SelectCodecKernels("auto"))) {
      return Corrupt("block " + std::to_string(i) + " of a section does not decode");
    }
    section = section.subspan(stored);
    out = out.subspan(bytes);
  }
  if (!section.empty()) return Corrupt("bytes after the last block of a section");
  return raw;
}

Result<std::vector<uint8_t>> WriteKvObject(const KvObjectHeader& h, std::span<const std::vector<uint8_t>> sections) {
  const size_t blocks = h.block_hashes.size();
  if (sections.size() != h.layers || blocks != (uint64_t{h.tokens} + kBlockTokens - 1) / kBlockTokens || blocks > kMaxObjectBlocks ||
      h.layers < 1 || h.layers > kMaxObjectLayers ||
      std::any_of(sections.begin(), sections.end(), [&](const auto& s) { return !LengthFits(h, s.size()); })) {
    return Status{Code::kInvalidArgument, "stored KV object: the sections do not fit the header"};
  }
  const size_t header_bytes = HeaderBytes(blocks, h.layers);
  std::vector<uint8_t> bytes(header_bytes, 0);
  std::memcpy(bytes.data(), kMagic, sizeof(kMagic));
  const uint32_t fields[][2] = {{4, kKvObjectFormat},
                                {8, static_cast<uint32_t>(header_bytes)},
                                {12, (h.sealed ? kSealedFlag : 0) | (h.partial() ? kPartialFlag : 0)},
                                {80, h.first_token},
                                {84, h.tokens},
                                {88, static_cast<uint32_t>(blocks)},
                                {92, kBlockTokens},
                                {96, h.layers},
                                {100, h.shape.kv_heads},
                                {104, h.shape.head_dim},
                                {108, static_cast<uint32_t>(h.shape.dtype)},
                                {112, static_cast<uint32_t>(h.codec)}};
  for (const auto& [at, value] : fields) PutU32(bytes, at, value);
  const auto put = [&](size_t at, std::span<const uint8_t> part) { std::copy(part.begin(), part.end(), bytes.begin() + static_cast<ptrdiff_t>(at)); };
  put(16, h.name_space);
  put(48, h.parent_hash);
  put(120, h.key_id);
  put(136, h.nonce_base);
  for (size_t i = 0; i < blocks; i++) put(kFixedBytes + kDigestBytes * i, h.block_hashes[i]);
  uint64_t offset = 0;
  for (size_t l = 0; l < sections.size(); l++) {
    const size_t at = kFixedBytes + kDigestBytes * blocks + kLayerBytes * l;
    PutU64(bytes, at, offset);
    PutU64(bytes, at + 8, sections[l].size());
    PutU32(bytes, at + 16, Crc32(sections[l]));
    offset += sections[l].size();
  }
  put(header_bytes - kDigestBytes, Sha256Of(std::span(bytes).first(header_bytes - kDigestBytes)));
  for (const auto& section : sections) bytes.insert(bytes.end(), section.begin(), section.end());
  return bytes;
}

}  // namespace longshore
