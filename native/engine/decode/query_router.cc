#include "engine/decode/query_router.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/formats/half.h"

namespace longshore {
namespace {

constexpr uint32_t kGroups = 2;            // looked into
constexpr uint32_t kMembersOfLeader = 4;   // queries scored in groups, for each leader scored, at most
constexpr uint32_t kKeysOfQuery = 2048, kMostQueries = 8;  // a nearest query is followed for so many keys of the range
constexpr uint32_t kDoors = 16;            // keys of each

}  // namespace

std::vector<QueryRouter::Near> QueryRouter::Order(const kernels::KernelTable& kernels, const float* q, float inverse_scale, std::span<const uint32_t> samples) const {
  std::vector<const uint16_t*> rows;
  for (const uint32_t s : samples) rows.push_back(&queries_[size_t{s} * row_]);
  std::vector<float> products(samples.size());
  kernels.dot_bf16(rows.data(), static_cast<uint32_t>(rows.size()), q, row_, products.data());
  std::vector<Near> order;
  for (size_t i = 0; i < samples.size(); ++i) order.push_back({half_[samples[i]] - products[i] * inverse_scale, static_cast<uint32_t>(i)});
  std::sort(order.begin(), order.end(), [](const Near& a, const Near& b) { return a.distance != b.distance ? a.distance < b.distance : a.index < b.index; });
  return order;
}

void QueryRouter::Build(const kernels::KernelTable& kernels, uint32_t keys, uint32_t row, std::vector<uint16_t> queries, const NearestKeys& nearest) {
  row_ = row;
  queries_ = std::move(queries);
  followed_ = std::clamp(keys / kKeysOfQuery, 1u, kMostQueries);
  doors_of_query_ = std::min(kDoors, nearest.count);
  half_.resize(nearest.samples);
  for (uint32_t s = 0; s < nearest.samples; ++s) {
    float sum = 0.f;
    for (uint32_t c = 0; c < row; ++c) {
      const float x = Bf16ToF32(queries_[size_t{s} * row + c]);
      sum += x * x;
    }
    half_[s] = sum / 2.f;
    doors_.insert(doors_.end(), &nearest.keys[size_t{s} * nearest.count], &nearest.keys[size_t{s} * nearest.count] + doors_of_query_);
  }
  const auto count = static_cast<uint32_t>(std::lround(std::sqrt(static_cast<double>(nearest.samples))));
  // At multiples of the golden ratio: spread over positions, and over the heads that alternate.
  for (uint32_t i = 0; i < count; ++i) leaders_.push_back(static_cast<uint32_t>(uint64_t{(i + 1) * 2654435769u} * nearest.samples >> 32));
  std::vector<std::vector<uint32_t>> members(count);
  std::vector<float> q(row);
  for (uint32_t s = 0; s < nearest.samples; ++s) {
    for (uint32_t c = 0; c < row; ++c) q[c] = Bf16ToF32(queries_[size_t{s} * row + c]);
    members[Order(kernels, q.data(), 1.f, leaders_).front().index].push_back(s);
  }
  starts_.assign(1, 0);
  for (const std::vector<uint32_t>& group : members) {
    groups_.insert(groups_.end(), group.begin(), group.end());
    starts_.push_back(static_cast<uint32_t>(groups_.size()));
  }
}

uint32_t QueryRouter::Doors(const kernels::KernelTable& kernels, const float* q, float scale, std::vector<uint16_t>* doors) const {
  const float inverse = 1.f / scale;
  const std::vector<Near> groups = Order(kernels, q, inverse, leaders_);
  std::vector<uint32_t> members;
  for (size_t g = 0; g < std::min<size_t>(kGroups, groups.size()); ++g)
    members.insert(members.end(), groups_.begin() + starts_[groups[g].index], groups_.begin() + starts_[groups[g].index + 1]);
  members.resize(std::min<size_t>(members.size(), kMembersOfLeader * leaders_.size()));
  const std::vector<Near> order = Order(kernels, q, inverse, members);
  for (size_t i = 0; i < std::min<size_t>(followed_, order.size()); ++i) {
    const uint16_t* keys = &doors_[size_t{members[order[i].index]} * doors_of_query_];
    doors->insert(doors->end(), keys, keys + doors_of_query_);
  }
  return static_cast<uint32_t>(leaders_.size() + members.size());
}

}  // namespace longshore
