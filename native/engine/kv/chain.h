// The hash chain that names blocks (docs/design/0001-stored-block-format.md, "Identity"). TypeScript's twin: core/src/identity/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/kv/sha256.h"

namespace longshore {

// `canonical_json` as core/src/identity writes it: keys sorted, no spaces, UTF-8.
Digest NamespaceOf(std::string_view canonical_json);
// h0.
Digest ChainRoot(std::span<const uint8_t> tenant_secret, const Digest& name_space);
// h(i) from h(i-1) and block i's tokens (fewer than 128 for a partial tail).
Digest NextBlockHash(const Digest& parent, std::span<const uint32_t> tokens);
// Hashes of all blocks of `tokens`, a partial last one included; `parent` is the hash before them.
std::vector<Digest> ChainHashes(const Digest& parent, std::span<const uint32_t> tokens);

}  // namespace longshore
