#include "engine/cuda/weight_upload.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/cuda/card.h"
#include "engine/formats/dequantize.h"
#include "engine/kv/bf16.h"

namespace longshore::cuda {
namespace {

constexpr uint64_t kStagingBytes = 32u << 20;

}  // namespace

Status WeightUpload::Open() { return staging_.Allocate(kStagingBytes, "loading weights"); }

uint64_t WeightUpload::SourceRow(uint64_t row, bool rotated) const {
  const Hyperparameters& h = file_.hyperparameters();
  if (!rotated || h.rope_layout != RopeLayout::kInterleaved) return row;
  const uint64_t head = row / h.head_dim, i = row % h.head_dim, half = h.rope_dims / 2;
  if (i >= h.rope_dims) return row;
  return head * h.head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

Status WeightUpload::Matrix(const std::string& name, bool rotated, __nv_bfloat16* to) {
  Result<const Tensor*> found = file_.Require(name);
  if (!found.ok()) return found.status();
  const Tensor& tensor = *found.value();
  const uint64_t cols = tensor.cols(), rows = tensor.rows(), share = std::max<uint64_t>(1, kStagingBytes / (2 * cols));
  if (2 * cols > kStagingBytes) return {Code::kUnsupported, name + " has rows of " + std::to_string(cols) + " values"};
  std::vector<std::vector<float>> floats(pool_.threads(), std::vector<float>(cols));
  uint16_t* staging = staging_.as<uint16_t>();
  for (uint64_t first = 0; first < rows; first += share) {
    const uint64_t count = std::min(share, rows - first);
    pool_.Run(static_cast<uint32_t>(count), [&](uint32_t i, uint32_t thread) {
      const uint8_t* source = tensor.row(SourceRow(first + i, rotated));
      uint16_t* out = staging + i * cols;
      if (tensor.dtype == DType::kBf16) {
        std::memcpy(out, source, cols * 2);
        return;
      }
      float* row = floats[thread].data();
      DequantizeRow(tensor.dtype, source, row, cols);
      for (uint64_t c = 0; c < cols; ++c) out[c] = Bf16OfFloat(row[c]);
    });
    const cudaError_t error = cudaMemcpy(to + first * cols, staging, count * cols * 2, cudaMemcpyHostToDevice);
    if (error != cudaSuccess) return CudaStatus(error, "copying " + name + " to the card");
  }
  return Status::Ok();
}

Status WeightUpload::Bias(const std::string& name, bool rotated, __nv_bfloat16* to) {
  Result<const Tensor*> found = file_.Require(name);
  if (!found.ok()) return found.status();
  const uint64_t n = found.value()->cols();
  std::vector<float> stored(n);
  std::vector<uint16_t> rounded(n);
  DequantizeRow(found.value()->dtype, found.value()->data, stored.data(), n);
  for (uint64_t i = 0; i < n; ++i) rounded[i] = Bf16OfFloat(stored[SourceRow(i, rotated)]);
  return CudaStatus(cudaMemcpy(to, rounded.data(), n * 2, cudaMemcpyHostToDevice), "copying " + name + " to the card");
}

Status WeightUpload::Norm(const std::string& name, float* to) {
  Result<const Tensor*> found = file_.Require(name);
  if (!found.ok()) return found.status();
  std::vector<float> values(found.value()->cols());
  DequantizeRow(found.value()->dtype, found.value()->data, values.data(), values.size());
  for (float& w : values) w += file_.hyperparameters().norm_offset;
  return CudaStatus(cudaMemcpy(to, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice), "copying " + name + " to the card");
}

}  // namespace longshore::cuda
