#include "engine/decode/key_distance.h"

#include <algorithm>

#include "engine/formats/half.h"

namespace longshore {
namespace {

constexpr float kMuchNearer = 1.5f;  // squared distances; more than 1 keeps some links in like directions (Vamana's alpha)

}  // namespace

KeyDistance::KeyDistance(const kernels::KernelTable& kernels, const KeyGraph& graph)
    : kernels_(kernels), graph_(graph), mean_(graph.row_width(), 0.f), squares_(graph.keys()), row_(graph.row_width()) {
  for (uint32_t key = 0; key < graph.keys(); ++key)
    for (size_t c = 0; c < mean_.size(); ++c) mean_[c] += Bf16ToF32(graph.row(key)[c]);
  for (float& x : mean_) x /= static_cast<float>(graph.keys());
  for (uint32_t key = 0; key < graph.keys(); ++key) {
    const float* d = FromMean(key);
    float sum = 0.f;
    for (size_t c = 0; c < mean_.size(); ++c) sum += d[c] * d[c];
    squares_[key] = sum;
  }
}

const float* KeyDistance::FromMean(uint32_t key) {
  const uint16_t* row = graph_.row(key);
  for (size_t c = 0; c < mean_.size(); ++c) row_[c] = Bf16ToF32(row[c]) - mean_[c];
  return row_.data();
}

void KeyDistance::Distances(uint32_t key, const std::vector<uint16_t>& to, std::vector<float>* out) {
  rows_.clear();
  for (const uint16_t one : to) rows_.push_back(graph_.row(one));
  const float* d = FromMean(key);
  float offset = 0.f;
  for (size_t c = 0; c < mean_.size(); ++c) offset += d[c] * mean_[c];
  out->resize(to.size());
  kernels_.dot_bf16(rows_.data(), static_cast<uint32_t>(rows_.size()), d, graph_.row_width(), out->data());
  for (size_t i = 0; i < to.size(); ++i) (*out)[i] = squares_[key] + squares_[to[i]] - 2.f * ((*out)[i] - offset);
}

std::vector<uint16_t> KeyDistance::Spread(uint32_t key, const std::vector<uint16_t>& candidates, uint32_t most) {
  std::vector<uint16_t> chosen;
  std::vector<float> own;
  Distances(key, candidates, &own);
  for (size_t i = 0; i < candidates.size() && chosen.size() < most; ++i) {
    Distances(candidates[i], chosen, &between_);
    if (std::none_of(between_.begin(), between_.end(), [&](float d) { return d * kMuchNearer < own[i]; })) chosen.push_back(candidates[i]);
  }
  return chosen;
}

std::vector<uint16_t> KeyDistance::SpreadNearest(uint32_t key, std::vector<uint16_t> candidates, uint32_t most) {
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::erase(candidates, static_cast<uint16_t>(key));
  Distances(key, candidates, &from_);
  std::vector<std::pair<float, uint16_t>> order;
  for (size_t i = 0; i < candidates.size(); ++i) order.emplace_back(from_[i], candidates[i]);
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i) candidates[i] = order[i].second;
  return Spread(key, candidates, most);
}

}  // namespace longshore
