// A paged sequence with structured keys and the slow obvious twin of sparse prefill: softmax in double over listed keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>

#include "engine/sparse/sparse_attention.h"
#include "test/check.h"
#include "test/random_numbers.h"

namespace longshore::test {

struct SparseShape {
  uint32_t heads, kv_heads, head_dim, context;
  KvDtype dtype = KvDtype::kBf16;
  bool exact = false;
};

struct RecordedUnit {
  uint32_t position, rows;
  Selection selection;
};

// Selections by (item's table, head, block).
class Recorder : public SelectionObserver {
 public:
  void Selected(uint32_t, const QueryBlock& unit, const Selection& selection) override {
    const std::lock_guard lock(mutex_);
    units[{unit.item->block_table, unit.head, unit.block}] = {unit.position, unit.rows, selection};
  }
  std::map<std::tuple<const uint32_t*, uint32_t, uint32_t>, RecordedUnit> units;

 private:
  std::mutex mutex_;
};

class SparseCase {
 public:
  SparseShape s;
  KvPool pool;
  std::vector<uint32_t> table;
  std::vector<float> k, v, q;  // [context][heads or kv_heads][head_dim], k and v as the pool holds them

  // Blocks belong to a few topics, queries look for one: some blocks hold nearly all mass.
  SparseCase(Random& random, const SparseShape& shape) : s(shape) {
    const uint32_t blocks = (s.context + 127) / 128, d = s.head_dim;
    CHECK_OK(pool.Allocate({blocks + 2, 1, s.kv_heads, d, s.dtype}));
    const std::vector<uint8_t> garbage(2 * s.kv_heads * 128 * d * KvPool::ElementBytes(s.dtype), 0xff);
    for (uint32_t b = 0; b < blocks + 2; ++b) pool.WriteRaw(b, 0, 128, garbage.data());
    for (uint32_t b = 0; b < blocks; ++b) table.push_back(b + 2);
    std::reverse(table.begin(), table.end());
    k = random.Units(size_t{s.context} * s.kv_heads * d, 1.f);
    v = random.Units(k.size());
    q = random.Units(size_t{s.context} * s.heads * d, 1.f);
    constexpr uint32_t kTopics = 6;
    const std::vector<float> topics = random.Units(size_t{kTopics} * d, 1.5f);
    for (uint32_t t = 0; t < s.context; ++t) {
      const float* key_topic = &topics[(t / 128 * 7 + 3) % kTopics * d];
      const float* query_topic = &topics[random.Below(kTopics) * d];
      for (uint32_t h = 0; h < s.kv_heads; ++h)
        for (uint32_t c = 0; c < d; ++c) k[(size_t{t} * s.kv_heads + h) * d + c] += key_topic[c];
      for (uint32_t h = 0; h < s.heads; ++h)
        for (uint32_t c = 0; c < d; ++c) q[(size_t{t} * s.heads + h) * d + c] += 2.f * query_topic[c];
      pool.Write(table[t / 128], 0, t % 128, &k[t * size_t{s.kv_heads} * d], &v[t * size_t{s.kv_heads} * d]);
    }
    if (s.dtype == KvDtype::kBf16)
      for (std::vector<float>* x : {&k, &v})
        for (float& f : *x) f = FromBf16(ToBf16(f));
  }

  uint32_t group() const { return s.heads / s.kv_heads; }
  float Scale() const { return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(s.head_dim))); }

  // Rows [first, first + tokens) under `policy`; observer may be null. Rows that the policy leaves dense stay zero.
  std::vector<float> Run(const kernels::KernelTable& kernels, const AttentionPolicy& policy, uint32_t threads, uint32_t first, uint32_t tokens,
                         SelectionObserver* observer) {
    ThreadPool workers(threads);
    SparseAttention attention;
    CHECK_OK(attention.Allocate({s.heads, s.kv_heads, s.head_dim, s.exact, Scale()}, policy, pool, threads, s.context));
    attention.set_observer(observer);
    const AttentionItem item{0, tokens, first, table.data()};
    attention.Plan({&item, 1});
    const size_t width = size_t{s.heads} * s.head_dim;
    std::vector<float> out(tokens * width);
    attention.Run(workers, kernels, 0, q.data() + first * width, width, out.data(), width, nullptr);
    return out;
  }

  // A query as the kernel sees it, in base-2 logits.
  std::vector<double> Query(uint32_t t, uint32_t head, bool rounded) const {
    std::vector<double> out(s.head_dim);
    for (uint32_t c = 0; c < s.head_dim; ++c) {
      const float x = q[(size_t{t} * s.heads + head) * s.head_dim + c] * Scale();
      out[c] = static_cast<double>(rounded ? FromBf16(ToBf16(x)) : x);
    }
    return out;
  }
  const float* Key(uint32_t t, uint32_t head) const { return &k[(size_t{t} * s.kv_heads + head / group()) * s.head_dim]; }
  const float* Value(uint32_t t, uint32_t head) const { return &v[(size_t{t} * s.kv_heads + head / group()) * s.head_dim]; }
  double Dot(const std::vector<double>& query, const float* key) const {
    double sum = 0;
    for (uint32_t c = 0; c < s.head_dim; ++c) sum += query[c] * static_cast<double>(key[c]);
    return sum;
  }
  // Mean of the keys (or values) of a block before `end`, as the pool's type holds it.
  std::vector<float> Mean(const float* (SparseCase::*of)(uint32_t, uint32_t) const, uint32_t block, uint32_t head, uint32_t end) const {
    std::vector<float> mean(s.head_dim);
    const uint32_t to = std::min(end, (block + 1) * 128);
    for (uint32_t c = 0; c < s.head_dim; ++c) {
      double sum = 0;
      for (uint32_t t = block * 128; t < to; ++t) sum += static_cast<double>((this->*of)(t, head)[c]);
      mean[c] = static_cast<float>(sum / (to - block * 128));
      if (s.dtype == KvDtype::kBf16) mean[c] = FromBf16(ToBf16(mean[c]));
    }
    return mean;
  }

  // Softmax over the keys of the selection that row `t` sees; pruned blocks by their means where `corrected`.
  std::vector<double> Expected(uint32_t t, uint32_t head, const Selection& selection, bool corrected, bool rounded) const {
    const std::vector<double> query = Query(t, head, rounded);
    std::vector<std::pair<double, std::vector<float>>> terms;
    double most = -1e300;
    const auto add = [&](double score, const float* value) {
      terms.emplace_back(score, std::vector<float>(value, value + s.head_dim));
      most = std::max(most, score);
    };
    std::set<uint32_t> blocks(selection.always.begin(), selection.always.end());
    blocks.insert(selection.kept.begin(), selection.kept.end());
    for (const uint32_t b : blocks)
      for (uint32_t key = b * 128; key < std::min(t + 1, (b + 1) * 128); ++key) add(Dot(query, Key(key, head)), Value(key, head));
    for (const uint32_t key : selection.columns) add(Dot(query, Key(key, head)), Value(key, head));
    if (corrected)
      for (uint32_t b = 0; b <= t / 128; ++b)
        if (!blocks.contains(b)) add(Dot(query, Mean(&SparseCase::Key, b, head, s.context).data()) + 7.0, Mean(&SparseCase::Value, b, head, s.context).data());
    std::vector<double> out(s.head_dim);
    double sum = 0;
    for (const auto& [score, value] : terms) sum += std::exp2(score - most);
    for (const auto& [score, value] : terms)
      for (uint32_t c = 0; c < s.head_dim; ++c) out[c] += std::exp2(score - most) / sum * static_cast<double>(value[c]);
    return out;
  }
};

inline AttentionPolicy Uniform(const HeadPolicy& head, uint32_t heads, uint32_t min_tokens = 0) {
  return {.min_tokens = min_tokens, .layers = 1, .heads = heads, .table = std::vector<HeadPolicy>(heads, head)};
}

}  // namespace longshore::test
