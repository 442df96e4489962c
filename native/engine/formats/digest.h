// Identity of a model's weights.
#pragma once

#include <span>
#include <string>

#include "engine/status.h"

namespace longshore {

// "sha256:<hex>". One file: SHA-256 of its bytes (what `sha256sum` prints). Several: SHA-256 of their bytes one after the other,
// in the order given (name order). The result is remembered in `<first file>.sha256` with each file's size and modification
// time, where that is writable and the weights exceed 16 MB; a remembered digest counts only while all of them still agree.
// Errors: kNotFound (a file cannot be opened), kInternal (reading failed).
Result<std::string> DigestWeightFiles(std::span<const std::string> paths);

}  // namespace longshore
