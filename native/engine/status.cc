#include "engine/status.h"

namespace longshore {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kNotFound: return "not_found";
    case Code::kCorrupt: return "corrupt";
    case Code::kUnsupported: return "unsupported";
    case Code::kOutOfMemory: return "out_of_memory";
    case Code::kCancelled: return "cancelled";
    case Code::kClosed: return "closed";
    case Code::kInternal: return "internal";
  }
  return "internal";
}

}  // namespace longshore
