#include "engine/engine.h"

#include "engine/cpu_engine.h"
#ifdef LONGSHORE_CUDA
#include "engine/cuda/cuda_engine.h"
#endif

namespace longshore {

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  if (options.backend != "cpu" && options.backend != "cuda" && options.backend != "auto")
    return Status(Code::kInvalidArgument, "backend '" + options.backend + "' is unknown; use cpu, cuda or auto");
#ifdef LONGSHORE_CUDA
  if (options.backend != "cpu") {
    Result<std::unique_ptr<Engine>> engine = cuda::CudaEngine::Open(options);
    // auto: the CPU serves what the card cannot.
    if (engine.ok() || options.backend == "cuda" || engine.status().code() != Code::kUnsupported) return engine;
  }
#else
  if (options.backend == "cuda") return Status(Code::kUnsupported, "this build has no CUDA backend; use backend cpu or auto, or build where nvcc is");
#endif
  return CpuEngine::Open(options);
}

}  // namespace longshore
