#include "engine/decode/graph_search.h"

#include <algorithm>

namespace longshore {

void GraphSearch::Meet(const Found& found, uint32_t part, uint32_t beam) {
  found_.push_back(found);
  if (beam_.size() == beam && !Better(found, beam_.back().found)) return;
  const auto at = std::upper_bound(beam_.begin(), beam_.end(), found, [](const Found& a, const Met& b) { return Better(a, b.found); });
  beam_.insert(at, {found, part, false});
  if (beam_.size() > beam) beam_.pop_back();
}

void GraphSearch::Score(const kernels::KernelTable& kernels, const GraphPart& part, std::span<const uint16_t> keys, const float* q, uint32_t most) {
  listed_.clear();
  rows_.clear();
  for (const uint16_t key : keys) {
    uint32_t& seen = seen_[part.first + key];
    if (seen == number_) continue;
    seen = number_;
    listed_.push_back(part.first + key);
    rows_.push_back(part.graph->row(key));
    __builtin_prefetch(rows_.back());
    __builtin_prefetch(rows_.back() + 32);
  }
  const auto count = static_cast<uint32_t>(std::min<size_t>(listed_.size(), most - found_.size()));
  scores_.resize(std::max<size_t>(scores_.size(), count));
  kernels.dot_bf16(rows_.data(), count, q, part.graph->row_width(), scores_.data());
}

std::span<const GraphSearch::Found> GraphSearch::Run(const kernels::KernelTable& kernels, std::span<const GraphPart> parts, const float* q, uint32_t beam, uint32_t most) {
  found_.clear();
  beam_.clear();
  followed_ = 0;
  const size_t positions = parts.empty() ? 0 : size_t{parts.back().first} + parts.back().graph->keys();
  if (seen_.size() < positions) seen_.resize(positions, 0);
  if (++number_ == 0) {
    std::fill(seen_.begin(), seen_.end(), 0);
    number_ = 1;
  }
  const auto score = [&](uint32_t part, std::span<const uint16_t> keys) {
    Score(kernels, parts[part], keys, q, most);
    const size_t count = std::min<size_t>(listed_.size(), most - found_.size());
    for (size_t i = 0; i < count; ++i) Meet({scores_[i], listed_[i]}, part, beam);
  };
  for (uint32_t p = 0; p < parts.size(); ++p) score(p, parts[p].doors.empty() ? parts[p].graph->entries() : parts[p].doors);
  while (found_.size() < most) {
    const auto next = std::find_if(beam_.begin(), beam_.end(), [](const Met& m) { return !m.followed; });
    if (next == beam_.end()) break;
    next->followed = true;
    ++followed_;
    const uint32_t part = next->part;
    score(part, parts[part].graph->links(next->found.key - parts[part].first));
  }
  return found_;
}

}  // namespace longshore
