#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longshore::fuzz::Gguf({data, size});
  return 0;
}
