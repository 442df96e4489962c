#include "engine/cuda/decode_graph.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "engine/cuda/card.h"

namespace longshore::cuda {

struct DecodeGraphs::Head {
  int32_t tokens[kMaxRows], positions[kMaxRows], lengths[kMaxRows], rows[kMaxRows];
  PrefillTile tiles[kMaxRows];
};

Status DecodeGraphs::Allocate(DeviceForward& forward, uint32_t max_blocks, uint32_t spare_block) {
  forward_ = &forward;
  max_blocks_ = max_blocks;
  spare_block_ = spare_block;
  const uint64_t bytes = sizeof(Head) + uint64_t{kMaxRows} * max_blocks * sizeof(int32_t);
  if (Status s = host_.Allocate(bytes, "decode inputs"); !s.ok()) return s;
  if (Status s = device_.Allocate(bytes, "decode inputs"); !s.ok()) return s;
  if (Status s = results_.Allocate(2 * kMaxRows * sizeof(int32_t), "drawn tokens"); !s.ok()) return s;
  if (Status s = device_results_.Allocate(2 * kMaxRows * sizeof(int32_t), "drawn tokens"); !s.ok()) return s;
  head_ = host_.as<Head>();
  table_ = reinterpret_cast<int32_t*>(head_ + 1);
  for (uint32_t i = 0; i < kMaxRows; ++i) head_->rows[i] = static_cast<int32_t>(i);
  return Status::Ok();
}

void DecodeGraphs::Clear() {
  for (auto& [shape, graph] : graphs_)
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  graphs_.clear();
}

Status DecodeGraphs::Enqueue(const Shape& shape, cudaStream_t stream) {
  Head* head = device_.as<Head>();
  ForwardStep step;
  step.decodes = shape.rows;
  step.max_length = shape.blocks * longshore::kBlockTokens;
  step.table_stride = max_blocks_;
  step.at.tokens = head->tokens;
  step.at.positions = head->positions;
  step.at.lengths = head->lengths;
  step.at.decode_tiles = head->tiles;
  step.at.table = reinterpret_cast<int32_t*>(head + 1);
  if (Status s = forward_->Run(step, nullptr, stream); !s.ok()) return s;
  if (Status s = forward_->Logits(head->rows, shape.rows, stream); !s.ok()) return s;
  int32_t* tokens = device_results_.as<int32_t>();
  return forward_->Draw(shape.rows, tokens, reinterpret_cast<float*>(tokens) + kMaxRows, stream);
}

Status DecodeGraphs::Capture(const Shape& shape, cudaStream_t stream, cudaGraphExec_t* out) {
  if (Status s = CudaStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a decode step"); !s.ok()) return s;
  const Status enqueued = Enqueue(shape, stream);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  Status status = enqueued.ok() ? CudaStatus(ended, "capturing a decode step") : enqueued;
  if (status.ok()) status = CudaStatus(cudaGraphInstantiate(out, graph, 0), "instantiating a decode step's graph");
  if (graph != nullptr) cudaGraphDestroy(graph);
  return status;
}

Status DecodeGraphs::Run(std::span<const StepItem> items, cudaStream_t stream) {
  uint32_t longest = 1;
  const uint32_t count = static_cast<uint32_t>(items.size());
  for (const StepItem& item : items) longest = std::max(longest, item.position / longshore::kBlockTokens + 1);
  const Shape shape = {std::bit_ceil(count), std::min(std::max(std::bit_ceil(longest), 16u), max_blocks_)};
  for (uint32_t i = 0; i < shape.rows; ++i) {
    const bool real = i < count;
    const uint32_t position = real ? items[i].position : 0, blocks = real ? position / longshore::kBlockTokens + 1 : 1;
    const int16_t slot = static_cast<int16_t>(position % longshore::kBlockTokens);
    head_->tokens[i] = real ? static_cast<int32_t>(items[i].tokens[0]) : 0;
    head_->positions[i] = static_cast<int32_t>(position);
    head_->lengths[i] = static_cast<int32_t>(position + 1);
    head_->tiles[i] = {static_cast<int32_t>(i) - slot, slot, static_cast<int16_t>(slot + 1), static_cast<int32_t>(position / longshore::kBlockTokens),
                       static_cast<int32_t>(i)};
    int32_t* row = table_ + uint64_t{i} * max_blocks_;
    if (real) std::copy_n(items[i].block_table.begin(), blocks, row);
    else row[0] = static_cast<int32_t>(spare_block_);
  }
  cudaError_t error = cudaMemcpyAsync(device_.as<void>(), head_, sizeof(Head), cudaMemcpyHostToDevice, stream);
  const size_t pitch = uint64_t{max_blocks_} * sizeof(int32_t);
  if (error == cudaSuccess)
    error = cudaMemcpy2DAsync(device_.as<uint8_t>() + sizeof(Head), pitch, table_, pitch, longest * sizeof(int32_t), shape.rows, cudaMemcpyHostToDevice, stream);
  if (error != cudaSuccess) return CudaStatus(error, "copying a decode step's inputs");
  const auto [at, first] = graphs_.try_emplace(shape, nullptr);
  if (first) {
    if (Status s = Enqueue(shape, stream); !s.ok()) return s;
  } else {
    if (at->second == nullptr)
      if (Status s = Capture(shape, stream, &at->second); !s.ok()) return s;
    if (Status s = CudaStatus(cudaGraphLaunch(at->second, stream), "launching a decode step"); !s.ok()) return s;
  }
  return CudaStatus(cudaMemcpyAsync(results_.as<void>(), device_results_.as<void>(), results_.bytes(), cudaMemcpyDeviceToHost, stream), "copying drawn tokens");
}

}  // namespace longshore::cuda
