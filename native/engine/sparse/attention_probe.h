// Runs policies beside a step on the queries and keys that the step has, and compares them with dense attention.
//
// Nothing that the step computes changes. The probe has its own index and scratch: it is made for a measurement and dropped after it.
#pragma once

#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "engine/measure.h"
#include "engine/sparse/sparse_attention.h"

namespace longshore {

class AttentionProbe : private SelectionObserver {
 public:
  // `policies` may be dense. Bounds: `max_rows` rows in a step, `max_tokens` tokens of context.
  Status Allocate(const SparseAttention::Shape& shape, std::vector<AttentionPolicy> policies, const MeasureRequest& request, const KvPool& pool,
                  uint32_t threads, uint32_t max_rows, uint32_t max_tokens);

  // A layer that sees all tokens; arguments as SparseAttention::Run. The item's KV is in the pool.
  void Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const AttentionItem& item, const float* q, size_t q_stride,
           const std::atomic<int32_t>* cancel);

  AttentionMeasures Take() { return std::move(result_); }

 private:
  struct MapKey {
    uint32_t block, layer, head;
    auto operator<=>(const MapKey&) const = default;
  };
  void Selected(uint32_t layer, const QueryBlock& unit, const Selection& selection) override;
  void Attended(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) override;
  void MapMass(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch);
  void Compare(uint32_t policy, uint32_t layer);
  bool Mapped(uint32_t layer, uint32_t head) const;
  HeadMeasure& at(uint32_t policy, uint32_t layer, uint32_t head) {
    return result_.measures[(size_t{policy} * result_.layers + layer) * result_.heads + head];
  }
  // Of a step's row and head: where lse_ and mass_ hold it.
  static size_t Row(const QueryBlock& unit) { return unit.item->first_row + (unit.position - unit.item->position); }

  SparseAttention::Shape shape_{};
  std::vector<AttentionPolicy> policies_;  // policies_[0] is dense heads, the reference
  std::vector<std::pair<uint32_t, uint32_t>> maps_;
  uint32_t every_ = 1;
  SparseAttention sparse_;
  std::vector<AttentionItem> blocks_;              // of the running call: the measured query blocks
  std::vector<float> reference_, out_;             // [rows][heads][head_dim]
  std::vector<float> lse_, mass_;                  // [rows][heads]: base-2 log of the softmax's sum; share kept
  uint32_t running_ = 0;                           // index into policies_
  AttentionMeasures result_;
  std::mutex mutex_;
  std::map<MapKey, BlockMapRow> rows_of_maps_;
};

}  // namespace longshore
