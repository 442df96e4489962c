// Sketches against their definition, sparse decode against the softmax over what it must keep, and the bits of both over instruction
// sets, threads and batches.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/decode/sketch_attention.h"
#include "engine/formats/half.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using test::Random;
using test::Tables;

struct Context {
  uint32_t heads, kv_heads, head_dim, tokens;
  KvPool pool;
  std::vector<uint32_t> table;
  std::vector<float> k, v, q;  // [tokens][kv_heads][head_dim] as the pool holds them; q [heads][head_dim]

  // `needles` keys look like the queries, each to one head.
  Context(Random& random, uint32_t heads_in, uint32_t kv_heads_in, uint32_t head_dim_in, uint32_t tokens_in, uint32_t needles = 0)
      : heads(heads_in), kv_heads(kv_heads_in), head_dim(head_dim_in), tokens(tokens_in) {
    const uint32_t blocks = (tokens + 127) / 128;
    CHECK_OK(pool.Allocate({blocks + 2, 1, kv_heads, head_dim, KvDtype::kBf16}));
    for (uint32_t b = 0; b < blocks; ++b) table.push_back(b + 2);
    std::reverse(table.begin(), table.end());
    k = random.Units(size_t{tokens} * kv_heads * head_dim, 1.f);
    v = random.Units(k.size());
    q = random.Units(size_t{heads} * head_dim, 1.f);
    for (uint32_t i = 0; i < needles; ++i) {
      const uint32_t head = i % heads, token = static_cast<uint32_t>((uint64_t{i} * 2654435761u) % (tokens - 512)) + 128;
      for (uint32_t c = 0; c < head_dim; ++c) k[(size_t{token} * kv_heads + head / (heads / kv_heads)) * head_dim + c] = 8.f * q[head * head_dim + c];
    }
    for (std::vector<float>* x : {&k, &v})
      for (float& f : *x) f = test::FromBf16(test::ToBf16(f));
    for (uint32_t t = 0; t < tokens; ++t) pool.Write(table[t / 128], 0, t % 128, &k[size_t{t} * kv_heads * head_dim], &v[size_t{t} * kv_heads * head_dim]);
  }

  uint32_t group() const { return heads / kv_heads; }
  const float* key(uint32_t token, uint32_t kv_head) const { return &k[(size_t{token} * kv_heads + kv_head) * head_dim]; }
  double Score(uint32_t token, uint32_t head) const {
    double s = 0;
    for (uint32_t c = 0; c < head_dim; ++c) s += static_cast<double>(q[head * head_dim + c]) * static_cast<double>(key(token, head / group())[c]);
    return s;
  }

  // softmax(q k / sqrt(d)) v in double over all tokens.
  std::vector<double> Dense(uint32_t head) const {
    std::vector<double> s(tokens), out(head_dim);
    double most = -1e300, sum = 0;
    for (uint32_t t = 0; t < tokens; ++t) most = std::max(most, s[t] = Score(t, head) / std::sqrt(static_cast<double>(head_dim)));
    for (double& x : s) sum += x = std::exp(x - most);
    for (uint32_t t = 0; t < tokens; ++t)
      for (uint32_t c = 0; c < head_dim; ++c) out[c] += s[t] / sum * static_cast<double>(v[(size_t{t} * kv_heads + head / group()) * head_dim + c]);
    return out;
  }

  SketchAttention::Shape Shape() const {
    return {heads, kv_heads, head_dim, static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)))};
  }
  AttentionItem Item() const { return {0, 1, tokens - 1, table.data()}; }
};

std::vector<float> Decode(const Context& c, const kernels::KernelTable& kernels, const DecodePolicy& policy, uint32_t threads, SketchAttention* attention) {
  ThreadPool pool(threads);
  CHECK_OK(attention->Allocate(c.Shape(), policy, c.pool, threads, c.tokens));
  const AttentionItem item = c.Item();
  attention->Plan({&item, 1});
  CHECK_EQ(attention->sparse_items().size(), size_t{1});
  std::vector<float> out(c.q.size());
  attention->Run(pool, kernels, 0, c.q.data(), c.q.size(), out.data(), out.size(), nullptr);
  return out;
}

double RelativeError(const std::vector<float>& out, const Context& c) {
  double most = 0, scale = 0;
  for (uint32_t head = 0; head < c.heads; ++head) {
    const std::vector<double> expected = c.Dense(head);
    for (uint32_t i = 0; i < c.head_dim; ++i) {
      most = std::max(most, std::fabs(static_cast<double>(out[head * c.head_dim + i]) - expected[i]));
      scale = std::max(scale, std::fabs(expected[i]));
    }
  }
  return most / scale;
}

constexpr DecodePolicy kEverything{.kind = DecodeKind::kSketchTopk, .min_tokens = 256, .rescore = 1.f, .keep = 0.9999f};
constexpr DecodePolicy kFew{.kind = DecodeKind::kSketchTopk, .min_tokens = 256, .rescore = 0.01f, .keep = 0.99f};

}  // namespace

TEST(halves_round_to_nearest_even) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float x = F16ToF32(static_cast<uint16_t>(bits)), next = F16ToF32(static_cast<uint16_t>(bits + 1));
    CHECK_EQ(F32ToF16(x), static_cast<uint16_t>(bits));
    CHECK_EQ(F32ToF16(-x), static_cast<uint16_t>(bits | 0x8000));
    if (bits + 1 < 0x7c00) CHECK_EQ(F32ToF16((x + next) / 2), static_cast<uint16_t>(bits + bits % 2));
  }
  CHECK_EQ(F32ToF16(65520.f), uint16_t{0x7c00});
}

TEST(a_rotation_keeps_lengths_and_products) {
  Random random(5);
  for (const uint32_t d : {16u, 64u, 80u, 96u, 128u, 256u}) {
    Context c(random, 2, 1, d, 128);
    SketchIndex index;
    CHECK_OK(index.Allocate(c.pool));
    std::vector<float> a(index.depth()), b(index.depth());
    index.Rotate(c.q.data(), a.data());
    index.Rotate(c.q.data() + d, b.data());
    double before = 0, after = 0;
    for (uint32_t i = 0; i < d; ++i) before += static_cast<double>(c.q[i]) * static_cast<double>(c.q[d + i]);
    for (uint32_t i = 0; i < index.depth(); ++i) after += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    CHECK_NEAR(before, after, 1e-4 * d);
  }
}

TEST(sketch_scores_estimate_products_without_bias) {
  Random random(6);
  const uint32_t d = 64;
  Context c(random, 64, 1, d, 256);
  SketchIndex index;
  CHECK_OK(index.Allocate(c.pool));
  index.Ensure(c.table[0], 0, 0);
  double error = 0, squares = 0, products = 0;
  uint32_t count = 0;
  for (uint32_t head = 0; head < c.heads; ++head) {
    std::vector<float> rotated(index.depth());
    index.Rotate(&c.q[head * d], rotated.data());
    for (uint32_t t = 0; t < 128; ++t) {
      double estimate = 0;
      for (uint32_t i = 0; i < d; ++i) {
        const uint32_t byte = index.sketch(c.table[0], 0, 0)[i / 4 * 64 + t % 64 % 32 * 2 + t % 64 / 32];
        estimate += static_cast<double>(rotated[i]) * ((byte >> (t / 64 * 4 + i % 4) & 1) != 0 ? 1 : -1);
      }
      estimate *= static_cast<double>(F16ToF32(reinterpret_cast<const uint16_t*>(index.sketch(c.table[0], 0, 0) + d / 4 * 64)[t]));
      for (uint32_t i = 0; i < d; ++i) estimate += static_cast<double>(c.q[head * d + i]) * static_cast<double>(Bf16ToF32(index.mean(c.table[0], 0, 0)[i]));
      const double exact = c.Score(t, head);
      error += estimate - exact;
      squares += (estimate - exact) * (estimate - exact);
      products += exact * exact;
      count++;
    }
  }
  // One sign per channel leaves an error of sqrt(pi/2 - 1) = 0.76 of a product's own spread; its mean over 8,192 products is near 0.
  CHECK(std::fabs(error / count) < 0.05 * std::sqrt(products / count));
  CHECK(std::sqrt(squares / products) < 0.85);
}

TEST(scans_are_equal_on_every_instruction_set_and_to_their_definition) {
  Random random(7);
  constexpr uint32_t kBlocks = 5, kQueries = 3;  // a pair of queries and one alone
  for (const uint32_t groups : {4u, 16u, 32u, 64u}) {
    const uint32_t padded = groups * 4, bytes = groups * 64 + 256 + padded * 2;
    std::vector<std::vector<uint16_t>> sketches(kBlocks, std::vector<uint16_t>(bytes / 2));
    std::vector<const uint8_t*> places;
    for (auto& sketch : sketches) {
      for (uint16_t& x : sketch) x = static_cast<uint16_t>(random.Next());
      for (uint32_t t = 0; t < 128; ++t) sketch[groups * 32 + t] = F32ToF16(static_cast<float>(random.Next() % 1000) / 500.f);
      for (uint32_t c = 0; c < padded; ++c) sketch[groups * 32 + 128 + c] = test::ToBf16(random.Unit());
      places.push_back(reinterpret_cast<const uint8_t*>(sketch.data()));
    }
    std::vector<uint8_t> tables(size_t{kQueries} * groups * 16);
    for (uint8_t& x : tables) x = static_cast<uint8_t>(random.Next() % 64);
    const std::vector<float> q = random.Units(size_t{kQueries} * padded);
    std::vector<float> first_scores;
    for (const kernels::KernelTable* table : Tables()) {
      std::vector<float> scores(size_t{kQueries} * kBlocks * 128), best(size_t{kQueries} * kBlocks * 16, -1e30f);
      std::vector<kernels::SketchQuery> queries;
      for (uint32_t i = 0; i < kQueries; ++i)
        queries.push_back({&q[i * padded], &tables[size_t{i} * groups * 16], -3.f, 0.25f, &scores[size_t{i} * kBlocks * 128], &best[size_t{i} * kBlocks * 16]});
      table->scan_sketches({places.data(), kBlocks, groups, padded, queries.data(), kQueries});
      for (uint32_t i = 0; i < kQueries; ++i)
        for (uint32_t b = 0; b < kBlocks; ++b) {
          const uint16_t* factors = sketches[b].data() + groups * 32;
          double base = 0;
          for (uint32_t c = 0; c < padded; ++c) base += static_cast<double>(q[i * padded + c]) * static_cast<double>(test::FromBf16(factors[128 + c]));
          const float* of_block = &scores[(size_t{i} * kBlocks + b) * 128];
          for (uint32_t t = 0; t < 128; ++t) {
            uint32_t sum = 0;
            for (uint32_t g = 0; g < groups; ++g) {
              const uint32_t byte = places[b][g * 64 + t % 64 % 32 * 2 + t % 64 / 32];
              sum += tables[(i * groups + g) * 16 + (t < 64 ? byte & 15 : byte >> 4)];
            }
            const double expected = base + static_cast<double>(F16ToF32(factors[t])) * (-3.0 + 0.25 * sum);
            CHECK_NEAR(of_block[t], expected, 1e-3 * (1 + std::fabs(expected)));
          }
          for (uint32_t g = 0; g < 16; ++g) {
            float most = -1e30f;
            for (uint32_t t = g; t < 128; t += 16) most = std::max(most, of_block[t]);
            CHECK_EQ(best[(size_t{i} * kBlocks + b) * 16 + g], most);
          }
        }
      if (first_scores.empty()) first_scores = scores;
      for (size_t k = 0; k < scores.size(); ++k) CHECK_NEAR(scores[k], first_scores[k], 1e-4 * (1 + std::fabs(first_scores[k])));
    }
  }
}

TEST(lists_hold_every_key_that_reaches_the_threshold_in_order) {
  Random random(14);
  constexpr uint32_t kBlocks = 9;
  const std::vector<float> scores = random.Units(kBlocks * 128);
  std::vector<float> best(kBlocks * 16, -2.f);
  for (uint32_t k = 0; k < scores.size(); ++k) best[k / 128 * 16 + k % 16] = std::max(best[k / 128 * 16 + k % 16], scores[k]);
  for (const kernels::KernelTable* table : Tables())
    for (const float least : {-2.f, 0.5f, 0.99f, 2.f}) {
      std::vector<uint32_t> expected, listed(kBlocks * 128);
      for (uint32_t k = 0; k < scores.size(); ++k)
        if (scores[k] >= least) expected.push_back(k);
      listed.resize(table->list_at_least(scores.data(), best.data(), kBlocks, least, kBlocks * 128, listed.data()));
      CHECK(listed == expected);
      CHECK(table->list_at_least(scores.data(), best.data(), kBlocks, least, 300, listed.data()) <= 300);
    }
}

TEST(decode_that_rescores_everything_is_dense_attention) {
  Random random(8);
  for (const auto& [heads, kv_heads, d, tokens] : {std::array<uint32_t, 4>{4, 2, 64, 1000}, {3, 1, 64, 1024}, {2, 2, 128, 901}, {4, 1, 80, 1281}, {2, 1, 256, 700}, {2, 1, 16, 640}}) {
    Context c(random, heads, kv_heads, d, tokens);
    for (const kernels::KernelTable* table : Tables()) {
      SketchAttention attention;
      CHECK(RelativeError(Decode(c, *table, kEverything, 2, &attention), c) < 6e-3);
    }
  }
}

TEST(decode_over_all_blocks_is_dense_attention) {
  Random random(12);
  Context c(random, 4, 2, 64, 1500);
  for (const kernels::KernelTable* table : Tables()) {
    SketchAttention attention;
    CHECK(RelativeError(Decode(c, *table, {.kind = DecodeKind::kBlockTopk, .min_tokens = 256, .blocks = 1.f}, 2, &attention), c) < 6e-3);
  }
}

TEST(decode_by_blocks_attends_to_as_many_as_it_is_told) {
  Random random(13);
  Context c(random, 4, 2, 64, 16384, 12);
  SketchAttention attention;
  Decode(c, *Tables().front(), {.kind = DecodeKind::kBlockTopk, .min_tokens = 256, .blocks = 0.05f}, 2, &attention);
  CHECK_EQ(attention.counts().kept.load(), uint64_t{4} * 128 * 7);  // of 125 blocks between sink and window
  CHECK(static_cast<double>(attention.counts().bytes.load()) < 0.2 * static_cast<double>(attention.counts().dense_bytes.load()));
}

TEST(decode_finds_what_holds_the_mass_and_reads_little) {
  Random random(9);
  Context c(random, 4, 2, 64, 16384, 12);
  for (const kernels::KernelTable* table : Tables()) {
    SketchAttention attention;
    DecodePolicy policy = kFew;
    policy.measure_every = 1;
    const std::vector<float> out = Decode(c, *table, policy, 2, &attention);
    CHECK_NEAR(RelativeError(out, c), 0.0, 2e-2);
    const DecodeCounts& n = attention.counts();
    CHECK_EQ(n.keys.load(), uint64_t{4} * 16384);
    CHECK(n.rescored.load() <= 2 * n.scanned.load() / 100 + 4 * 128);
    CHECK(n.mass_kept.load() / static_cast<double>(n.measured.load()) > 0.95);
    CHECK(static_cast<double>(n.bytes.load()) < 0.12 * static_cast<double>(n.dense_bytes.load()));
  }
}

// Threads that share heads, and threads that share ranges of blocks.
TEST(decode_has_the_same_bits_with_any_threads) {
  Random random(10);
  Context c(random, 8, 4, 64, 8192 + 77, 16);
  for (const kernels::KernelTable* table : Tables()) {
    SketchAttention one;
    const std::vector<float> expected = Decode(c, *table, kFew, 1, &one);
    for (const uint32_t threads : {2u, 3u, 4u, 7u}) {
      SketchAttention others;
      CHECK(Decode(c, *table, kFew, threads, &others) == expected);
    }
  }
}

// The sequences share their blocks, so that both threads need the same sketches at the same time.
TEST(decode_of_a_batch_that_shares_blocks_has_the_bits_of_each_alone) {
  Random random(15);
  for (const uint32_t kv_heads : {1u, 4u}) {
    Context c(random, 4, kv_heads, 64, 8192, 16);
    const kernels::KernelTable& table = *Tables().front();
    SketchAttention one, batch;
    const std::vector<float> expected = Decode(c, table, kFew, 1, &one);
    ThreadPool threads(2);
    CHECK_OK(batch.Allocate(c.Shape(), kFew, c.pool, 2, c.tokens));
    std::vector<AttentionItem> items(8, c.Item());
    std::vector<float> q, out(8 * c.q.size());
    for (uint32_t i = 0; i < 8; ++i) {
      items[i].first_row = i;
      q.insert(q.end(), c.q.begin(), c.q.end());
    }
    batch.Plan(items);
    batch.Run(threads, table, 0, q.data(), c.q.size(), out.data(), c.q.size(), nullptr);
    for (uint32_t i = 0; i < 8; ++i) CHECK(std::equal(expected.begin(), expected.end(), out.begin() + static_cast<ptrdiff_t>(i * c.q.size())));
  }
}

TEST(a_rewritten_block_gets_new_sketches) {
  Random random(11);
  Context c(random, 2, 1, 64, 2048);
  SketchAttention attention;
  ThreadPool threads(1);
  const kernels::KernelTable& kernels = *Tables().front();
  CHECK_OK(attention.Allocate(c.Shape(), kFew, c.pool, 1, c.tokens));
  const AttentionItem item = c.Item();
  std::vector<float> before(c.q.size()), after(c.q.size());
  attention.Plan({&item, 1});
  attention.Run(threads, kernels, 0, c.q.data(), c.q.size(), before.data(), before.size(), nullptr);
  std::vector<float> key(64);
  for (uint32_t i = 0; i < 64; ++i) key[i] = 4.f * c.q[i];
  std::vector<float> value(64, 7.f);
  c.pool.Write(c.table[5], 0, 3, key.data(), value.data());
  attention.Run(threads, kernels, 0, c.q.data(), c.q.size(), after.data(), after.size(), nullptr);
  CHECK_NEAR(after[0], 7.0, 0.1);
}

TEST(pools_of_f32_are_refused) {
  KvPool pool;
  CHECK_OK(pool.Allocate({2, 1, 1, 64, KvDtype::kF32}));
  SketchAttention attention;
  CHECK(!attention.Allocate({1, 1, 64, 1.f}, kFew, pool, 1, 1024).ok());
}

}  // namespace longshore

TEST_MAIN
