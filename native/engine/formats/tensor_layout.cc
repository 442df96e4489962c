#include "engine/formats/tensor_layout.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "engine/formats/errors.h"

namespace longshore {
namespace {

constexpr uint64_t kMaxElements = 1ull << 40;

}  // namespace

Status MeasureTensor(Tensor* tensor) {
  if (tensor->shape.empty() || tensor->shape.size() > 4) {
    return Corrupt("tensor " + Quote(tensor->name) + " has " + std::to_string(tensor->shape.size()) + " dimensions; 1 to 4 are possible");
  }
  uint64_t elements = 1;
  for (uint64_t dimension : tensor->shape) {
    if (dimension == 0 || dimension > kMaxElements / elements) {
      return Corrupt("tensor " + Quote(tensor->name) + " has an absurd dimension " + std::to_string(dimension));
    }
    elements *= dimension;
  }
  const DTypeTraits& traits = TraitsOf(tensor->dtype);
  if (tensor->cols() % traits.block_elements != 0) {
    return Corrupt("tensor " + Quote(tensor->name) + ": rows of " + std::to_string(tensor->cols()) + " weights are not whole " + traits.name + " blocks");
  }
  tensor->bytes = elements / traits.block_elements * traits.block_bytes;
  return Status::Ok();
}

Status PlaceInside(std::span<const uint8_t> section, std::span<const uint64_t> offsets, std::span<Tensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return offsets[a] < offsets[b]; });
  uint64_t end = 0;
  for (size_t i : order) {
    Tensor& tensor = tensors[i];
    if (offsets[i] > section.size() || tensor.bytes > section.size() - offsets[i]) {
      return Corrupt("tensor " + Quote(tensor.name) + " reaches beyond the end of the file; it is probably an incomplete download");
    }
    if (offsets[i] < end) return Corrupt("tensor " + Quote(tensor.name) + " overlaps the one before it");
    end = offsets[i] + tensor.bytes;
    tensor.data = section.data() + offsets[i];
  }
  return Status::Ok();
}

}  // namespace longshore
