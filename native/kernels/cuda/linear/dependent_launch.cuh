// Programmatic dependent launch: a kernel may become resident while the one before it in the stream still runs.
#pragma once

#include <cuda_runtime.h>

namespace longshore::cuda {

// Returns when every kernel before this one in the stream has finished and its writes are visible. What earlier kernels wrote is read, and
// anything is written, only after it.
__device__ __forceinline__ void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may start where there is room, once every block of this one has said so or ended.
__device__ __forceinline__ void LetNextStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// The kernel must call WaitForPrevious.
template <typename Params>
cudaError_t LaunchDependent(void (*kernel)(Params), dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream, const Params& params) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace longshore::cuda
