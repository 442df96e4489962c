#include "engine/decode/key_graph.h"

#include <algorithm>

#include "engine/decode/key_distance.h"
#include "engine/decode/graph_search.h"

namespace longshore {
namespace {

constexpr uint32_t kKeysOfEntry = 128, kLeastEntries = 16, kMostEntries = 256;
constexpr uint32_t kCandidates = 96;                      // links considered for a key
constexpr uint32_t kNearBeam = 16, kNearScan = 256, kNear = 48;  // of the search for what lies near a key

struct Candidate {
  uint16_t key, votes;
};

// The keys that queries want together with each key. Of a query's keys the best leads to the others, and each to the next.
class Votes {
 public:
  Votes(uint32_t keys, const NearestKeys& nearest) : candidates_(size_t{keys} * kCandidates), counts_(keys, 0) {
    for (uint32_t s = 0; s < nearest.samples; ++s) {
      const uint16_t* list = &nearest.keys[size_t{s} * nearest.count];
      for (uint32_t i = 1; i < nearest.count; ++i) {
        Vote(list[0], list[i]);
        Vote(list[i], list[0]);
        if (i > 1) Vote(list[i - 1], list[i]), Vote(list[i], list[i - 1]);
      }
    }
  }

  // What most queries agree on first.
  std::vector<uint16_t> Of(uint32_t key) {
    Candidate* list = &candidates_[size_t{key} * kCandidates];
    std::stable_sort(list, list + counts_[key], [](const Candidate& a, const Candidate& b) { return a.votes > b.votes; });
    std::vector<uint16_t> keys;
    for (uint32_t i = 0; i < counts_[key]; ++i) keys.push_back(list[i].key);
    return keys;
  }

 private:
  void Vote(uint32_t from, uint32_t to) {
    Candidate* list = &candidates_[size_t{from} * kCandidates];
    for (uint32_t i = 0; i < counts_[from]; ++i)
      if (list[i].key == to) {
        if (list[i].votes < UINT16_MAX) list[i].votes++;
        // Towards the front: what is wanted most is found first, and the last place is the one to give away.
        if (i > 0 && list[i].votes > list[i - 1].votes) std::swap(list[i], list[i - 1]);
        return;
      }
    if (counts_[from] < kCandidates) list[counts_[from]++] = {static_cast<uint16_t>(to), 1};
    else if (list[kCandidates - 1].votes == 1) list[kCandidates - 1].key = static_cast<uint16_t>(to);
    else list[kCandidates - 1].votes--;
  }

  std::vector<Candidate> candidates_;  // [keys][kCandidates]
  std::vector<uint8_t> counts_;        // [keys]
};

}  // namespace

Status KeyGraph::Allocate(uint32_t keys, uint32_t row, uint32_t degree) {
  keys_ = keys;
  row_ = row;
  degree_ = degree;
  entries_.clear();
  links_.resize(size_t{keys} * degree);
  for (size_t i = 0; i < links_.size(); ++i) links_[i] = static_cast<uint16_t>(i / degree);
  return rows_.Allocate(uint64_t{keys} * row * 2, "the key graph");
}

void KeyGraph::Link(const kernels::KernelTable& kernels, const NearestKeys& nearest) {
  KeyDistance distance(kernels, *this);
  const uint32_t half = degree_ / 2;
  {
    Votes votes(keys_, nearest);
    for (uint32_t key = 0; key < keys_; ++key) {
      const std::vector<uint16_t> wanted = distance.Spread(key, votes.Of(key), degree_);
      std::copy(wanted.begin(), wanted.end(), &links_[size_t{key} * degree_]);
    }
  }
  ChooseEntries(nearest);
  // Near keys, found through the links so far: a direction from the mean is asked for as a query is.
  std::vector<std::vector<uint16_t>> near(keys_), back(keys_);
  GraphSearch search;
  const GraphPart part{this, 0, {}};
  for (uint32_t key = 0; key < keys_; ++key) {
    const auto all = search.Run(kernels, {&part, 1}, distance.FromMean(key), kNearBeam, kNearScan + static_cast<uint32_t>(entries_.size()));
    std::vector<GraphSearch::Found> found(all.begin(), all.end());
    const size_t most = std::min<size_t>(kNear, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<ptrdiff_t>(most), found.end(), GraphSearch::Better);
    std::vector<uint16_t> keys;
    for (size_t i = 0; i < most; ++i) keys.push_back(static_cast<uint16_t>(found[i].key));
    near[key] = distance.SpreadNearest(key, std::move(keys), half);
  }
  for (uint32_t key = 0; key < keys_; ++key)
    for (const uint16_t to : near[key])
      if (back[to].size() < kNear) back[to].push_back(static_cast<uint16_t>(key));
  for (uint32_t key = 0; key < keys_; ++key) {
    std::vector<uint16_t> both = near[key];
    both.insert(both.end(), back[key].begin(), back[key].end());
    uint16_t* to = &links_[size_t{key} * degree_];
    uint32_t count = 0;
    while (count < degree_ - half && to[count] != key) ++count;
    for (const uint16_t one : distance.SpreadNearest(key, std::move(both), half))
      if (std::find(to, to + count, one) == to + count) to[count++] = one;
    std::fill(to + count, to + degree_, static_cast<uint16_t>(key));
  }
}

// Keys of which as many queries as possible have one among their best: the most wanted one, then the one most wanted by the queries that
// have none yet, and so on. So what few queries want has a door too. What is left of the places goes to keys at even distances.
void KeyGraph::ChooseEntries(const NearestKeys& nearest) {
  const uint32_t places = std::min(keys_, std::clamp(keys_ / kKeysOfEntry, kLeastEntries, kMostEntries));
  std::vector<uint32_t> wanted(keys_, 0), starts(keys_ + 1, 0), by_key(nearest.keys.size());
  for (const uint16_t key : nearest.keys) wanted[key]++;
  for (uint32_t key = 0; key < keys_; ++key) starts[key + 1] = starts[key] + wanted[key];
  std::vector<uint32_t> next(starts.begin(), starts.end() - 1);
  for (size_t i = 0; i < nearest.keys.size(); ++i) by_key[next[nearest.keys[i]]++] = static_cast<uint32_t>(i / nearest.count);
  std::vector<uint8_t> served(nearest.samples, 0), chosen(keys_, 0);
  while (entries_.size() < places) {
    const auto most = static_cast<uint32_t>(std::max_element(wanted.begin(), wanted.end()) - wanted.begin());
    if (wanted[most] == 0) break;
    entries_.push_back(static_cast<uint16_t>(most));
    chosen[most] = 1;
    for (uint32_t i = starts[most]; i < starts[most + 1]; ++i) {
      const uint32_t sample = by_key[i];
      if (served[sample] != 0) continue;
      served[sample] = 1;
      for (uint32_t k = 0; k < nearest.count; ++k) wanted[nearest.keys[size_t{sample} * nearest.count + k]]--;
    }
  }
  for (uint32_t i = 0; i < places && entries_.size() < places; ++i) {
    const auto key = static_cast<uint32_t>(uint64_t{keys_} * (2 * i + 1) / (2 * places));
    if (chosen[key] == 0) entries_.push_back(static_cast<uint16_t>(key));
  }
}

}  // namespace longshore
