#include "kernels/cuda/linear/cublas_lt.h"

#include <dlfcn.h>

#include <cstdlib>

namespace longshore::cuda {
namespace {

struct Loaded {
  CublasLt table = {};
  bool ok = false;
  std::string why;
};

void* OpenLibrary(std::string* tried) {
  std::string folders[] = {"", "", "/usr/local/cuda/lib64/"};
  if (const char* home = std::getenv("CUDA_HOME"); home != nullptr) folders[1] = std::string(home) + "/lib64/";
  const std::string major = std::to_string(CUBLAS_VER_MAJOR);
  for (const std::string& folder : folders) {
    const std::string name = folder + "libcublasLt.so." + major;
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
  }
  *tried = "libcublasLt.so." + major + " was not found (set LD_LIBRARY_PATH or CUDA_HOME)";
  return nullptr;
}

Loaded Load() {
  Loaded loaded;
  void* library = OpenLibrary(&loaded.why);
  if (library == nullptr) return loaded;
  loaded.ok = true;
  const auto find = [&](auto& entry, const char* name) {
    entry = reinterpret_cast<std::remove_reference_t<decltype(entry)>>(dlsym(library, name));
    if (entry != nullptr) return;
    loaded.ok = false;
    loaded.why = std::string("libcublasLt has no ") + name;
  };
  CublasLt& t = loaded.table;
  find(t.create, "cublasLtCreate");
  find(t.destroy, "cublasLtDestroy");
  find(t.matmul, "cublasLtMatmul");
  find(t.desc_create, "cublasLtMatmulDescCreate");
  find(t.desc_destroy, "cublasLtMatmulDescDestroy");
  find(t.desc_set, "cublasLtMatmulDescSetAttribute");
  find(t.layout_create, "cublasLtMatrixLayoutCreate");
  find(t.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(t.preference_create, "cublasLtMatmulPreferenceCreate");
  find(t.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(t.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(t.heuristics, "cublasLtMatmulAlgoGetHeuristic");
  find(t.version, "cublasLtGetVersion");
  return loaded;
}

}  // namespace

const CublasLt* LoadCublasLt(std::string* why) {
  static const Loaded loaded = Load();
  if (loaded.ok) return &loaded.table;
  if (why != nullptr) *why = loaded.why;
  return nullptr;
}

}  // namespace longshore::cuda
