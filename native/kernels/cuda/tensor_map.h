// Tensor maps: how the copy engine finds a tile in a row-major tensor.
#pragma once

#include <cstdint>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

// A map of queries [rows][heads][head_dim] whose tiles are [128 rows] x [1 head] x [64 channels], 128-byte swizzled: a copy for each panel fills a
// tile in the order of TileOffset. Rows and channels outside the tensor read as zeros. Fails with cudaErrorNotSupported where the driver has
// no tensor maps (before compute capability 9.0) and cudaErrorInvalidValue when it refuses the shape.
cudaError_t MakeQueryMap(CUtensorMap* map, const bf16* q, int64_t rows, int32_t heads, int32_t head_dim);

}  // namespace longshore::cuda
