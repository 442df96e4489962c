// UTF-8 checks and encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longshore {

// Length in bytes of the well-formed UTF-8 sequence that `text` starts with (Unicode table 3-7); 0 when there is none.
size_t Utf8SequenceLength(std::string_view text);

// Appends a code point that is no surrogate and at most 0x10FFFF.
void AppendUtf8(uint32_t code_point, std::string* out);

}  // namespace longshore
