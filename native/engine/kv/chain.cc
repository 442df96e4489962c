#include "engine/kv/chain.h"

#include <algorithm>

#include "engine/engine.h"

namespace longshore {

Digest NamespaceOf(std::string_view canonical_json) {
  Sha256 hash;
  hash.Update(canonical_json.data(), canonical_json.size());
  return hash.Finish();
}

Digest ChainRoot(std::span<const uint8_t> tenant_secret, const Digest& name_space) { return HmacSha256(tenant_secret, name_space); }

Digest NextBlockHash(const Digest& parent, std::span<const uint32_t> tokens) {
  Sha256 hash;
  hash.Update(parent);
  for (const uint32_t token : tokens) {
    const uint8_t bytes[4] = {static_cast<uint8_t>(token), static_cast<uint8_t>(token >> 8), static_cast<uint8_t>(token >> 16),
                              static_cast<uint8_t>(token >> 24)};
    hash.Update(bytes);
  }
  return hash.Finish();
}

std::vector<Digest> ChainHashes(const Digest& parent, std::span<const uint32_t> tokens) {
  std::vector<Digest> hashes;
  Digest last = parent;
  while (!tokens.empty()) {
    const size_t take = std::min<size_t>(kBlockTokens, tokens.size());
    last = NextBlockHash(last, tokens.first(take));
    hashes.push_back(last);
    tokens = tokens.subspan(take);
  }
  return hashes;
}

}  // namespace longshore
