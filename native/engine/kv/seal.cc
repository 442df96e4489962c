#include "engine/kv/seal.h"

#include <string>

#include "engine/kv/crc32.h"

namespace longshore {

SealNonce SectionNonce(const SealNonce& base, uint32_t index) {
  SealNonce nonce = base;
  for (uint32_t i = 0; i < 4; i++) nonce[8 + i] ^= static_cast<uint8_t>(index >> (8 * i));
  return nonce;
}

Status OpenSection(const SectionCipher& cipher, const SealedObject& object, uint32_t index) {
  const auto corrupt = [&](const char* what) { return Status{Code::kCorrupt, std::string(what) + " of layer " + std::to_string(index)}; };
  const StoredSection& section = object.sections[index];
  const uint64_t end = uint64_t{section.offset} + section.bytes;
  if (section.bytes <= 16 || end > object.bytes.size() || section.offset < object.additional_bytes) return corrupt("stored KV: no section");
  const std::span<uint8_t> stored = object.bytes.subspan(section.offset, section.bytes);
  if (Crc32(stored) != section.crc32) return corrupt("stored KV: wrong checksum");
  const std::span<uint8_t> text = stored.first(stored.size() - 16);
  const auto additional = std::span<const uint8_t>(object.bytes).first(object.additional_bytes);
  if (!cipher.Open(object.key, SectionNonce(object.nonce_base, index), additional, text, stored.last<16>())) return corrupt("stored KV: broken seal");
  return Status::Ok();
}

}  // namespace longshore
