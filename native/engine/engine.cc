#include "engine/engine.h"

#include "engine/cpu_engine.h"

namespace longshore {

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  if (options.backend == "cpu" || options.backend == "auto") return CpuEngine::Open(options);
  if (options.backend == "cuda") return Status(Code::kUnsupported, "this build has no CUDA backend; use backend cpu or auto");
  return Status(Code::kInvalidArgument, "backend '" + options.backend + "' is unknown; use cpu, cuda or auto");
}

}  // namespace longshore
