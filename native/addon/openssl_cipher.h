// The cipher of the OpenSSL that Node itself carries and uses for node:crypto.
#pragma once

#include "engine/kv/seal.h"

namespace longshore {

// Null where the process shows no OpenSSL: Node built against a library whose symbols are hidden. Lives as long as the process.
const SectionCipher* OpenSslCipher();

}  // namespace longshore
