// cuBLASLt's entry points, loaded when first asked for. Neither the addon nor the CLI is linked with it: half a gigabyte that a machine
// without a card does not have.
#pragma once

#include <string>

#include <cublasLt.h>

namespace longshore::cuda {

struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristics;
  decltype(&cublasLtGetVersion) version;
};

// The one table of the process, or null with a reason. The library is looked for where the loader looks, then beside the CUDA toolkit
// (CUDA_HOME) and in /usr/local/cuda.
const CublasLt* LoadCublasLt(std::string* why);

}  // namespace longshore::cuda
