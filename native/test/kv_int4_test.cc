#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/kv/bf16.h"
#include "engine/kv/codec.h"
#include "test/block_coder.h"
#include "test/check.h"

namespace longshore {
namespace {

using Coder = test::BlockCoder<KvCodec::kInt4>;

float At(const Coder& coder, std::span<const uint8_t> raw, size_t i) {
  uint16_t half;
  float full;
  if (coder.shape.dtype == KvDtype::kF32) return std::memcpy(&full, raw.data() + 4 * i, 4), full;
  return std::memcpy(&half, raw.data() + 2 * i, 2), FloatOfBf16(half);
}

void Put(const Coder& coder, std::span<uint8_t> raw, size_t i, float x) {
  const uint16_t half = Bf16OfFloat(x);
  if (coder.shape.dtype == KvDtype::kF32) std::memcpy(raw.data() + 4 * i, &x, 4);
  else std::memcpy(raw.data() + 2 * i, &half, 2);
}

// Normal values; channels of keys have means and spreads of their own, as a model's have.
std::vector<uint8_t> Raw(const Coder& coder, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> raw(coder.shape.RawBytes(coder.tokens));
  for (size_t i = 0; i < coder.count(); i++) {
    const uint32_t c = static_cast<uint32_t>(i % coder.shape.head_dim);
    const bool key = i < coder.count() / 2;
    Put(coder, raw, i, key ? normal(random) * static_cast<float>(1 + c % 5) + static_cast<float>(c % 9) - 4.f : normal(random));
  }
  return raw;
}

template <typename Body>
void ForShapes(const Body& body) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    for (const uint32_t tokens : {1u, 7u, 127u, 128u}) {
      for (const uint32_t head_dim : {1u, 16u, 33u, 64u, 128u}) body(Coder{{1 + head_dim % 3, head_dim, dtype}, tokens});
    }
  }
}

// Keys: a step is the root of (the channel's range x the head's average range) / 14, or range / 30 where that is more; values: max / 6.
TEST(error_is_at_most_half_a_step) {
  ForShapes([](const Coder& coder) {
    const auto raw = Raw(coder, coder.tokens * 31 + coder.shape.head_dim);
    std::vector<uint8_t> back(raw.size());
    CHECK(coder.Decode(coder.Encode(raw), back));
    const uint32_t d = coder.shape.head_dim;
    const auto range = [&](size_t head, size_t c) {
      float least = INFINITY, most = -INFINITY;
      for (size_t t = 0; t < coder.tokens; t++) {
        least = std::min(least, At(coder, raw, head + t * d + c));
        most = std::max(most, At(coder, raw, head + t * d + c));
      }
      return most - least;
    };
    for (size_t i = 0; i < coder.count(); i++) {
      float step = 0;
      if (i < coder.count() / 2) {
        float sum = 0;
        for (size_t c = 0; c < d; c++) sum += range(coder.Head(i), c);
        const float own = range(coder.Head(i), i % d);
        step = std::max(std::sqrt(own * sum / static_cast<float>(d)) / 14.f, own / 30.f);
      } else {
        for (size_t c = 0; c < d; c++) step = std::max(step, std::fabs(At(coder, raw, coder.Row(i) + c)) / 6.f);
      }
      // A step rounded down to bf16 leaves the ends of a range up to its error x 15 steps outside.
      CHECK(std::fabs(At(coder, raw, i) - At(coder, back, i)) <= step * (0.5f + 0.07f) + std::fabs(At(coder, raw, i)) / 128.f);
      if (i % 97 == 0 && d > 64) i += 96;
    }
  });
}

TEST(every_instruction_set_writes_and_reads_the_same_bytes) {
  ForShapes([](Coder coder) {
    const auto raw = Raw(coder, coder.tokens * 7 + coder.shape.head_dim);
    coder.kernels = SelectCodecKernels("portable");
    const auto expected = coder.Encode(raw);
    std::vector<uint8_t> expected_back(raw.size()), back(raw.size());
    CHECK(coder.Decode(expected, expected_back));
    for (const char* isa : {"avx2", "avx512"}) {
      coder.kernels = SelectCodecKernels(isa);
      if (coder.kernels == nullptr) continue;
      CHECK(coder.Encode(raw) == expected);
      CHECK(coder.Decode(expected, back));
      CHECK(back == expected_back);
    }
  });
}

TEST(takes_less_than_a_quarter_of_bf16) {
  for (const KvShape shape : {KvShape{3, 64, KvDtype::kBf16}, KvShape{8, 128, KvDtype::kBf16}}) {
    const Coder coder{shape, 128};
    CHECK(static_cast<double>(shape.RawBytes(128)) / static_cast<double>(coder.Encode(Raw(coder, 9)).size()) > 4.2);
  }
}

TEST(a_half_with_a_value_that_is_not_finite_comes_back_bit_by_bit) {
  const Coder coder{{2, 16, KvDtype::kBf16}, 128};
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    for (const size_t at : {size_t{0}, coder.count() / 2 - 1, coder.count() / 2, coder.count() - 1}) {
      auto raw = Raw(coder, 3);
      Put(coder, raw, at, bad);
      std::vector<uint8_t> back(raw.size());
      CHECK(coder.Decode(coder.Encode(raw), back));
      const size_t half = raw.size() / 2, from = at < coder.count() / 2 ? 0 : half;
      CHECK(std::memcmp(raw.data() + from, back.data() + from, half) == 0);
      CHECK(std::memcmp(raw.data() + half - from, back.data() + half - from, half) != 0);
    }
  }
}

TEST(constant_and_tiny_and_huge_values_stay_finite_and_near) {
  for (const float x : {0.f, 1.5f, -3e38f, 1e-40f, 3e38f}) {
    const Coder coder{{1, 16, KvDtype::kBf16}, 128};
    std::vector<uint8_t> raw(coder.shape.RawBytes(128)), back(raw.size());
    for (size_t i = 0; i < coder.count(); i++) Put(coder, raw, i, i % 7 == 0 ? x : x / 2);
    CHECK(coder.Decode(coder.Encode(raw), back));
    for (size_t i = 0; i < coder.count(); i++) {
      CHECK(std::isfinite(At(coder, back, i)));
      CHECK(std::fabs(At(coder, back, i) - At(coder, raw, i)) <= std::fabs(x) * 0.1f + 1e-38f);
    }
  }
}

TEST(the_chains_first_block_loses_no_bit) {
  CHECK(BlockCodec(KvCodec::kInt4, 0, 0) == KvCodec::kLossless);
  CHECK(BlockCodec(KvCodec::kInt4, 0, 1) == KvCodec::kInt4);
  CHECK(BlockCodec(KvCodec::kInt4, 128, 0) == KvCodec::kInt4);
}

// Decoding may succeed where a scale or a code was hit; it never reads or writes outside (the sanitizers watch).
TEST(mutated_and_cut_blocks_are_refused_or_decoded_within_bounds) {
  std::mt19937 random(4);
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    const Coder coder{{2, 16, dtype}, 63};
    const auto encoded = coder.Encode(Raw(coder, random()));
    std::vector<uint8_t> back(coder.shape.RawBytes(coder.tokens));
    CHECK(encoded.size() >= LeastBlockBytes(KvCodec::kInt4, coder.shape, coder.tokens));
    for (size_t size = 0; size < encoded.size(); size++) CHECK(!coder.Decode(std::span(encoded).first(size), back));
    int refused = 0;
    for (int round = 0; round < 5000; round++) {
      auto broken = encoded;
      for (uint32_t flips = 1 + random() % 4; flips > 0; flips--) broken[random() % broken.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
      refused += !coder.Decode(broken, back);
    }
    CHECK(refused > 0);
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
