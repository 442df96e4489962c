// Tiled attention against softmax(q k / sqrt(d)) v in double, with paging, masks, splits and garbage beyond the last token.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/attention.h"
#include "kernels/kernels.h"
#include "test/check.h"
#include "test/kernel_cases.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using test::Random;
using test::Tables;

struct Case {
  uint32_t heads, kv_heads, head_dim, context;
  KvDtype dtype;
  KvPool pool;
  std::vector<uint32_t> table;
  std::vector<float> k, v;  // [context][kv_heads][head_dim], as the pool holds them
  std::vector<float> q;     // [context][heads][head_dim]

  Case(Random& random, uint32_t heads_in, uint32_t kv_heads_in, uint32_t head_dim_in, uint32_t context_in, KvDtype dtype_in)
      : heads(heads_in), kv_heads(kv_heads_in), head_dim(head_dim_in), context(context_in), dtype(dtype_in) {
    const uint32_t blocks = (context + 127) / 128;
    CHECK_OK(pool.Allocate({blocks + 3, 1, kv_heads, head_dim, dtype}));
    // What a pool's free blocks hold is arbitrary: not-a-numbers here.
    const std::vector<uint8_t> garbage(2 * kv_heads * 128 * head_dim * KvPool::ElementBytes(dtype), 0xff);
    for (uint32_t b = 0; b < blocks + 3; ++b) pool.WriteRaw(b, 0, 128, garbage.data());
    for (uint32_t b = 0; b < blocks; ++b) table.push_back(b + 3);
    std::reverse(table.begin(), table.end());
    k = random.Units(size_t{context} * kv_heads * head_dim, 2.f);
    v = random.Units(k.size());
    q = random.Units(size_t{context} * heads * head_dim, 2.f);
    for (uint32_t t = 0; t < context; ++t)
      pool.Write(table[t / 128], 0, t % 128, &k[t * size_t{kv_heads} * head_dim], &v[t * size_t{kv_heads} * head_dim]);
    if (dtype == KvDtype::kBf16)
      for (std::vector<float>* x : {&k, &v})
        for (float& f : *x) f = test::FromBf16(test::ToBf16(f));
  }

  std::vector<double> Expected(uint32_t position, uint32_t head, uint32_t window = 0) const {
    const uint32_t group = heads / kv_heads;
    const float* query = &q[(size_t{position} * heads + head) * head_dim];
    std::vector<double> s(position + 1), out(head_dim);
    double most = -1e300, sum = 0;
    for (uint32_t t = 0; t <= position; ++t) {
      if (window > 0 && t + window <= position) {
        s[t] = -std::numeric_limits<double>::infinity();
        continue;
      }
      const float* key = &k[(size_t{t} * kv_heads + head / group) * head_dim];
      for (uint32_t c = 0; c < head_dim; ++c) s[t] += static_cast<double>(query[c]) * static_cast<double>(key[c]);
      s[t] /= std::sqrt(static_cast<double>(head_dim));
      most = std::max(most, s[t]);
    }
    for (double& x : s) sum += x = std::exp(x - most);
    for (uint32_t t = 0; t <= position; ++t)
      for (uint32_t c = 0; c < head_dim; ++c)
        out[c] += s[t] / sum * static_cast<double>(v[(size_t{t} * kv_heads + head / group) * head_dim + c]);
    return out;
  }

  // Rows [first, first + tokens) by the engine's planner.
  std::vector<float> Run(const kernels::KernelTable& table_of_kernels, uint32_t threads, uint32_t first, uint32_t tokens, bool exact, uint32_t window = 0) {
    ThreadPool workers(threads);
    Attention attention;
    CHECK_OK(attention.Allocate({heads, kv_heads, head_dim, exact, 0.0, window}, pool, threads, context));
    const AttentionItem item{0, tokens, first, table.data()};
    attention.Plan({&item, 1}, {&item, 1}, threads);
    const size_t width = size_t{heads} * head_dim;
    std::vector<float> out(tokens * width);
    attention.Run(workers, table_of_kernels, 0, window > 0, q.data() + first * width, width, out.data(), width, nullptr);
    return out;
  }
};

TEST(attention_equals_the_softmax_in_double) {
  Random random(5);
  struct Shape { uint32_t heads, kv_heads, head_dim, context; };
  for (const Shape& s : {Shape{9, 3, 64, 300}, {2, 2, 8, 129}, {8, 1, 32, 200}, {4, 2, 80, 1}, {6, 2, 128, 260}, {2, 1, 18, 70}})
    for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
      Case c(random, s.heads, s.kv_heads, s.head_dim, s.context, dtype);
      for (const kernels::KernelTable* table : Tables())
        for (const bool exact : {false, true}) {
          const std::vector<float> out = c.Run(*table, 2, 0, s.context, exact);
          // Rounding of queries and probabilities to bf16 (2^-9 each) where products are bf16.
          const bool rounded = dtype == KvDtype::kBf16 && !exact && table->attend_reads_bf16;
          const double tolerance = rounded ? 2e-2 : 3e-6;
          for (uint32_t t = 0; t < s.context; t += 1 + random.Below(7))
            for (uint32_t h = 0; h < s.heads; ++h) {
              const std::vector<double> expected = c.Expected(t, h);
              for (uint32_t i = 0; i < s.head_dim; ++i)
                CHECK_NEAR(out[(size_t{t} * s.heads + h) * s.head_dim + i], expected[i], tolerance);
            }
        }
    }
}

TEST(a_query_has_the_same_bits_alone_in_a_chunk_and_over_any_number_of_threads) {
  Random random(6);
  for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
    Case c(random, 6, 2, 64, 2500, dtype);
    const size_t width = 6 * 64;
    for (const kernels::KernelTable* table : Tables()) {
      const uint32_t first = 980;  // crosses a split at 1,024 and many tiles
      const std::vector<float> chunk = c.Run(*table, 1, first, 400, false);
      for (const uint32_t t : {980u, 1022u, 1023u, 1024u, 1025u, 1151u, 1152u, 1379u})
        for (const uint32_t threads : {1u, 3u}) {
          const std::vector<float> one = c.Run(*table, threads, t, 1, false);
          CHECK(std::memcmp(one.data(), chunk.data() + (t - first) * width, width * 4) == 0);
        }
      const std::vector<float> late = c.Run(*table, 1, 2490, 10, false), split = c.Run(*table, 4, 2490, 10, false);
      CHECK(late == split);
    }
  }
}

TEST(a_window_equals_the_masked_softmax_in_double) {
  Random random(9);
  struct Shape { uint32_t heads, kv_heads, head_dim, context, window; };
  for (const Shape& s : {Shape{4, 1, 256, 700, 512}, {4, 2, 32, 300, 40}, {9, 3, 64, 260, 1}, {2, 1, 32, 400, 128}, {2, 2, 16, 300, 129}, {4, 1, 32, 200, 5000}, {32, 1, 16, 290, 127}})
    for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
      Case c(random, s.heads, s.kv_heads, s.head_dim, s.context, dtype);
      for (const kernels::KernelTable* table : Tables())
        for (const bool exact : {false, true}) {
          const std::vector<float> out = c.Run(*table, 2, 0, s.context, exact, s.window);
          const bool rounded = dtype == KvDtype::kBf16 && !exact && table->attend_reads_bf16;
          for (uint32_t t = 0; t < s.context; t += 1 + random.Below(23))
            for (uint32_t h = 0; h < s.heads; h += 1 + random.Below(3)) {
              const std::vector<double> expected = c.Expected(t, h, s.window);
              for (uint32_t i = 0; i < s.head_dim; ++i)
                CHECK_NEAR(out[(size_t{t} * s.heads + h) * s.head_dim + i], expected[i], rounded ? 2e-2 : 3e-6);
            }
        }
    }
}

// So the blocks before a sliding layer's window need not be there.
TEST(keys_before_the_window_are_never_read_and_rows_keep_their_bits_however_they_are_cut) {
  Random random(10);
  for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
    Case c(random, 6, 2, 64, 2500, dtype);
    const size_t width = 6 * 64;
    constexpr uint32_t kWindow = 300, kFirst = 980;
    for (const kernels::KernelTable* table : Tables()) {
      const std::vector<float> chunk = c.Run(*table, 1, kFirst, 600, false, kWindow);
      std::vector<uint32_t> whole = c.table;
      for (const uint32_t t : {980u, 1023u, 1024u, 1025u, 1151u, 1152u, 1323u, 1324u, 1579u}) {
        for (uint32_t b = 0; b < (t + 1 - kWindow) / 128; ++b) c.table[b] = 0;  // a block of not-a-numbers
        const std::vector<float> one = c.Run(*table, 3, t, 1, false, kWindow);
        CHECK(std::memcmp(one.data(), chunk.data() + (t - kFirst) * width, width * 4) == 0);
        c.table = whole;
      }
    }
  }
}

TEST(large_scores_stay_finite) {
  Random random(7);
  Case c(random, 2, 1, 32, 400, KvDtype::kF32);
  for (float& x : c.q) x *= 200.f;
  for (const kernels::KernelTable* table : Tables())
    for (const float x : c.Run(*table, 1, 0, 400, false)) CHECK(std::fabs(x) <= 1.0001f);
}

TEST(a_block_reads_back_as_it_was_written) {
  Random random(8);
  for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16})
    for (const uint32_t tokens : {1u, 77u, 128u}) {
      KvPool pool;
      CHECK_OK(pool.Allocate({2, 3, 2, 24, dtype}));
      std::vector<uint8_t> raw(2 * 2 * tokens * 24 * KvPool::ElementBytes(dtype)), back(raw.size());
      for (uint8_t& b : raw) b = static_cast<uint8_t>(random.Below(256));
      pool.WriteRaw(1, 2, tokens, raw.data());
      pool.Read(1, 2, tokens, back.data());
      CHECK(raw == back);
    }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
