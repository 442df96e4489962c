// Short makers of the errors that readers return, and safe quoting of names that come out of untrusted files.
#pragma once

#include <string>
#include <string_view>

#include "engine/status.h"

namespace longshore {

inline Status Corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }
inline Status Unsupported(std::string message) { return {Code::kUnsupported, std::move(message)}; }

// 'text', at most 80 bytes of it, everything but printable ASCII replaced by '?'.
inline std::string Quote(std::string_view text) {
  std::string out = "'";
  for (char c : text.substr(0, 80)) out += c >= 0x20 && c < 0x7F ? c : '?';
  if (text.size() > 80) out += "...";
  return out + "'";
}

}  // namespace longshore
