// Key graphs against exact top-k and dense attention: what is learned from sampled queries, what a search finds for how many keys, and
// the bits over threads, batches, forks and growing contexts.
#include <algorithm>
#include <cmath>

#include "engine/decode/graph_attention.h"
#include "engine/formats/half.h"
#include "engine/policy/attention_policy.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using test::Random;
using test::Tables;

constexpr uint32_t kHeads = 4, kKvHeads = 2, kDim = 64, kGroup = kHeads / kKvHeads, kTopics = 128;
constexpr DecodePolicy kPolicy{.kind = DecodeKind::kGraph, .min_tokens = 256, .scan = 0.05f, .sample = 8};

// Keys and queries of a few topics: a query wants the keys of its own, and those are many more than a search may look at by chance.
struct Context {
  uint32_t tokens;
  KvPool pool;
  std::vector<uint32_t> table;
  std::vector<float> topics, keys, values;
  std::vector<std::vector<float>> queries;  // of the sampled positions and, last, the decoded token's

  Context(uint64_t seed, uint32_t tokens_in) : tokens(tokens_in) {
    Random random(seed);
    const uint32_t blocks = (tokens + 127) / 128;
    CHECK_OK(pool.Allocate({blocks + 1, 1, kKvHeads, kDim, KvDtype::kBf16}));
    for (uint32_t b = 0; b < blocks; ++b) table.push_back(blocks - b);
    topics = random.Units(size_t{kTopics} * kDim, 1.f);
    for (uint32_t t = 0; t < tokens; ++t) {
      Token(random, 5.f, kKvHeads, &keys);
      const std::vector<float> v = random.Units(kKvHeads * kDim);
      values.insert(values.end(), v.begin(), v.end());
    }
    for (std::vector<float>* all : {&keys, &values})
      for (float& x : *all) x = test::FromBf16(test::ToBf16(x));
    for (uint32_t t = 0; t < tokens; ++t) Write(t);
    for (uint32_t t = 0; t <= tokens; ++t) {
      std::vector<float> q;
      Token(random, 8.f, kHeads, &q);
      queries.push_back(q);
    }
  }
  void Token(Random& random, float strength, uint32_t heads, std::vector<float>* to) const {
    const uint32_t topic = random.Below(kTopics);
    for (uint32_t h = 0; h < heads; ++h) {
      const std::vector<float> noise = random.Units(kDim, 1.f);
      for (uint32_t c = 0; c < kDim; ++c) to->push_back(strength * topics[topic * kDim + c] / 4.f + noise[c]);
    }
  }
  void Write(uint32_t t) { pool.Write(table[t / 128], 0, t % 128, &keys[size_t{t} * kKvHeads * kDim], &values[size_t{t} * kKvHeads * kDim]); }
  void Teach(GraphAttention* attention) const {
    for (uint32_t t = 0; t < tokens; ++t) attention->Record(table[t / 128], 0, t % 128, queries[t].data());
  }
  SketchAttention::Shape Shape() const { return {kHeads, kKvHeads, kDim, static_cast<float>(1.4426950408889634 / 8.0)}; }
  AttentionItem Item(uint32_t position) const { return {0, 1, position, table.data()}; }

  std::vector<double> Dense(uint32_t position, uint32_t head) const {
    const std::vector<float>& q = queries.back();
    std::vector<double> s(position + 1), out(kDim);
    double most = -1e300, sum = 0;
    for (uint32_t t = 0; t <= position; ++t) {
      for (uint32_t c = 0; c < kDim; ++c)
        s[t] += static_cast<double>(q[head * kDim + c]) * static_cast<double>(keys[(size_t{t} * kKvHeads + head / kGroup) * kDim + c]) / 8.0;
      most = std::max(most, s[t]);
    }
    for (double& x : s) sum += x = std::exp(x - most);
    for (uint32_t t = 0; t <= position; ++t)
      for (uint32_t c = 0; c < kDim; ++c) out[c] += s[t] / sum * static_cast<double>(values[(size_t{t} * kKvHeads + head / kGroup) * kDim + c]);
    return out;
  }
};

std::vector<float> Run(const Context& c, const kernels::KernelTable& kernels, uint32_t threads, uint32_t position, GraphAttention* attention) {
  ThreadPool pool(threads);
  const AttentionItem item = c.Item(position);
  attention->Plan({&item, 1});
  std::vector<float> out(kHeads * kDim);
  attention->Run(pool, kernels, 0, c.queries.back().data(), kHeads * kDim, out.data(), out.size(), nullptr);
  return out;
}

std::vector<float> Decode(const Context& c, const kernels::KernelTable& kernels, uint32_t threads, const DecodePolicy& policy, GraphAttention* attention) {
  CHECK_OK(attention->Allocate(c.Shape(), policy, c.pool, threads));
  c.Teach(attention);
  return Run(c, kernels, threads, c.tokens - 1, attention);
}

double RelativeError(const std::vector<float>& out, const Context& c, uint32_t position) {
  double error = 0, scale = 0;
  for (uint32_t head = 0; head < kHeads; ++head) {
    const std::vector<double> expected = c.Dense(position, head);
    for (uint32_t i = 0; i < kDim; ++i) {
      error = std::max(error, std::fabs(static_cast<double>(out[head * kDim + i]) - expected[i]));
      scale = std::max(scale, std::fabs(expected[i]));
    }
  }
  return error / scale;
}

}  // namespace

TEST(segments_cover_all_blocks_but_the_last_few_and_stay_where_they_are_as_a_context_grows) {
  std::vector<GraphSegments::Cut> before;
  for (uint32_t blocks = 0; blocks < 1200; ++blocks) {
    std::vector<GraphSegments::Cut> cuts;
    const uint32_t covered = GraphSegments::CutInto(blocks, &cuts);
    CHECK(covered <= blocks && blocks - covered < GraphSegments::kLeastBlocks);
    uint32_t next = 0;
    for (const GraphSegments::Cut& cut : cuts) {
      CHECK_EQ(cut.first, next);
      CHECK(cut.count <= GraphSegments::kMostBlocks && cut.first % cut.count == 0);
      next += cut.count;
    }
    CHECK_EQ(next, covered);
  }
}

TEST(nearest_keys_are_the_exact_best) {
  Context c(1, 1024);
  QuerySamples samples;
  CHECK_OK(samples.Allocate(c.pool, kHeads, 16));
  for (uint32_t t = 0; t < c.tokens; ++t) samples.Record(c.table[t / 128], 0, t % 128, c.queries[t].data());
  for (const kernels::KernelTable* table : Tables()) {
    ThreadPool threads(2);
    NearestKeys nearest;
    std::vector<uint16_t> queries;
    FindNearestKeys(threads, *table, {&c.pool, c.table, 0}, samples, kGroup, 1, 8, nullptr, &nearest, &queries);
    CHECK_EQ(nearest.samples, 1024u / 16 * kGroup);
    for (uint32_t s = 0; s < nearest.samples; ++s) {
      std::vector<double> scores(c.tokens);
      for (uint32_t t = 0; t < c.tokens; ++t)
        for (uint32_t i = 0; i < kDim; ++i) scores[t] += static_cast<double>(Bf16ToF32(queries[s * kDim + i])) * static_cast<double>(c.keys[(size_t{t} * kKvHeads + 1) * kDim + i]);
      std::vector<double> sorted = scores;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      for (uint32_t i = 0; i < 8; ++i) CHECK_NEAR(scores[nearest.keys[s * 8 + i]], sorted[i], 1e-3 * std::fabs(sorted[i]));
    }
  }
}

TEST(a_search_finds_most_of_the_exact_best_keys) {
  Context c(3, 4096);
  QuerySamples samples;
  CHECK_OK(samples.Allocate(c.pool, kHeads, 8));
  for (uint32_t t = 0; t < c.tokens; ++t) samples.Record(c.table[t / 128], 0, t % 128, c.queries[t].data());
  for (const kernels::KernelTable* table : Tables()) {
    ThreadPool threads(2);
    GraphSegments segments;
    segments.Allocate(c.pool, samples, {.group = kGroup});
    const std::vector<SegmentHead>* heads = segments.Get(threads, *table, {&c.pool, c.table, 0}, nullptr);
    REQUIRE(heads != nullptr);
    GraphSearch search;
    uint32_t right = 0;
    for (uint32_t i = 0; i < 64; ++i) {
      // Queries of positions that were not sampled.
      const float* q = &c.queries[i * 64 + 1][kGroup * kDim];
      std::vector<uint16_t> doors;
      (*heads)[1].router.Doors(*table, q, 1.f, &doors);
      const GraphPart part{&(*heads)[1].graph, 0, doors};
      std::vector<std::pair<double, uint32_t>> exact;
      for (uint32_t t = 0; t < c.tokens; ++t) {
        double score = 0;
        for (uint32_t d = 0; d < kDim; ++d) score += static_cast<double>(q[d]) * static_cast<double>(c.keys[(size_t{t} * kKvHeads + 1) * kDim + d]);
        exact.emplace_back(-score, t);
      }
      std::sort(exact.begin(), exact.end());
      const auto found = search.Run(*table, {&part, 1}, q, 64, c.tokens / 20);
      CHECK(found.size() <= c.tokens / 20);
      for (uint32_t k = 0; k < 8; ++k) right += std::any_of(found.begin(), found.end(), [&](const GraphSearch::Found& f) { return f.key == exact[k].second; });
    }
    CHECK(right >= 64 * 8 * 9 / 10);
  }
}

TEST(any_threads_and_any_batch_give_the_same_bits) {
  Context c(4, 4096 + 33);
  for (const kernels::KernelTable* table : Tables()) {
    GraphAttention one, three;
    const std::vector<float> alone = Decode(c, *table, 1, kPolicy, &one);
    CHECK(alone == Decode(c, *table, 3, kPolicy, &three));
    // Beside an item of the same sequence at another position.
    const AttentionItem items[] = {c.Item(3000), {1, 1, c.tokens - 1, c.table.data()}};
    std::vector<float> q = c.queries[3000], out(2 * kHeads * kDim);
    q.insert(q.end(), c.queries.back().begin(), c.queries.back().end());
    ThreadPool threads(3);
    three.Plan(items);
    three.Run(threads, *table, 0, q.data(), kHeads * kDim, out.data(), kHeads * kDim, nullptr);
    CHECK(std::equal(alone.begin(), alone.end(), out.begin() + kHeads * kDim));
  }
}

TEST(a_context_that_grew_has_the_bits_of_one_that_was_there_at_once) {
  Context c(5, 3000);
  const kernels::KernelTable& table = *Tables().front();
  GraphAttention grown, whole;
  CHECK_OK(grown.Allocate(c.Shape(), kPolicy, c.pool, 1));
  c.Teach(&grown);
  for (uint32_t position = 1100; position < 2999; position += 211) Run(c, table, 1, position, &grown);
  const uint64_t built = grown.segments().built();
  CHECK(Run(c, table, 1, 2999, &grown) == Decode(c, table, 1, kPolicy, &whole));
  Run(c, table, 1, 2998, &grown);
  CHECK(built > 0 && grown.segments().built() <= built + 6 * kKvHeads);
}

TEST(a_rewritten_block_gets_a_new_graph) {
  Context c(6, 2048);
  const kernels::KernelTable& table = *Tables().front();
  GraphAttention attention;
  Decode(c, table, 1, kPolicy, &attention);
  // A key that the query wants more than all others, with a value of its own.
  const uint32_t token = 5 * 128 + 3;
  for (uint32_t h = 0; h < kKvHeads; ++h)
    for (uint32_t i = 0; i < kDim; ++i) {
      c.keys[(size_t{token} * kKvHeads + h) * kDim + i] = 4.f * c.queries.back()[h * kGroup * kDim + i];
      c.values[(size_t{token} * kKvHeads + h) * kDim + i] = 7.f;
    }
  c.Write(token);
  attention.Record(c.table[5], 0, 7, c.queries.back().data());
  CHECK_NEAR(Run(c, table, 1, c.tokens - 1, &attention)[0], 7.0, 0.1);
}

TEST(blocks_without_sampled_queries_are_read_whole) {
  Context c(7, 2048);
  GraphAttention attention;
  CHECK_OK(attention.Allocate(c.Shape(), kPolicy, c.pool, 1));
  c.Teach(&attention);
  for (const uint32_t block : c.table) attention.Forget(block, 0);
  CHECK(RelativeError(Run(c, *Tables().front(), 1, c.tokens - 1, &attention), c, c.tokens - 1) < 1e-2);
  CHECK_EQ(attention.segments().built(), uint64_t{0});
}

TEST(pools_of_f32_are_refused) {
  KvPool pool;
  CHECK_OK(pool.Allocate({2, 1, 1, 64, KvDtype::kF32}));
  GraphAttention attention;
  CHECK(!attention.Allocate({1, 1, 64, 1.f}, kPolicy, pool, 1).ok());
}

TEST(a_policy_file_names_the_graph_and_its_members) {
  const auto parse = [](const std::string& decode) {
    return ParsePolicy(R"({"format":"longshore-attention-policy","version":1,"default":{"type":"dense"},"decode":)" + decode + "}", 2, 4);
  };
  const auto policy = parse(R"({"type":"graph","min_tokens":1024,"beam":32,"scan":0.02,"sample":8,"nearest":16,"degree":24,"keep":0.95})");
  CHECK(policy.ok());
  const DecodePolicy& p = policy.value().decode;
  CHECK(p.kind == DecodeKind::kGraph && p.min_tokens == 1024 && p.beam == 32 && p.sample == 8 && p.nearest == 16 && p.degree == 24);
  CHECK(!parse(R"({"type":"graph","sample":7})").ok());
  CHECK(!parse(R"({"type":"graph","beam":100000})").ok());
  CHECK(!parse(R"({"type":"graph","rescore":0.1})").ok());
}

}  // namespace longshore

TEST_MAIN
