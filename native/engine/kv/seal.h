// Opening the seal of a stored object's sections (docs/design/0001-stored-block-format.md). The cipher itself belongs to
// whoever embeds the engine: no cryptography is written here.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/status.h"

namespace longshore {

using SealNonce = std::array<uint8_t, 12>;

// AES-256-GCM. Callable from several threads at once.
class SectionCipher {
 public:
  virtual ~SectionCipher() = default;
  // Decrypts `text` in place. False when the tag is not that of key, nonce, additional data and ciphertext; `text` is then garbage.
  virtual bool Open(std::span<const uint8_t, 32> key, const SealNonce& nonce, std::span<const uint8_t> additional,
                    std::span<uint8_t> text, std::span<const uint8_t, 16> tag) const = 0;
};

struct StoredSection {
  uint32_t offset = 0;  // from the object's first byte
  uint32_t bytes = 0;   // ciphertext and its 16-byte tag
  uint32_t crc32 = 0;   // of these bytes
};

// A whole object in memory that the caller lends: its sections are opened in place.
struct SealedObject {
  std::span<uint8_t> bytes;
  uint32_t additional_bytes = 0;  // the leading bytes that every seal authenticates
  std::array<uint8_t, 32> key{};
  SealNonce nonce_base{};
  std::vector<StoredSection> sections;  // [layers]
};

// Nonce of layer `index`: the base with its last four bytes XORed with the index, little-endian.
SealNonce SectionNonce(const SealNonce& base, uint32_t index);

// Verifies checksum and seal of section `index` and decrypts it in place. kCorrupt when it lies outside the object or either differs.
Status OpenSection(const SectionCipher& cipher, const SealedObject& object, uint32_t index);

// What OpenSection decrypted.
inline std::span<const uint8_t> OpenedSection(const SealedObject& object, uint32_t index) {
  return object.bytes.subspan(object.sections[index].offset, object.sections[index].bytes - 16);
}

}  // namespace longshore
