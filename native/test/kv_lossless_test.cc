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

using Coder = test::BlockCoder<KvCodec::kLossless>;

// Elements of one kind; `kind` names what real and hostile pools may hold.
enum Kind { kNormal, kBits, kZeros, kConstant, kSpecial, kSubnormal, kWide, kSparse, kKinds };

uint32_t Element(Kind kind, std::mt19937& random, uint32_t channel) {
  std::normal_distribution<float> normal(0.f, std::ldexp(1.f, static_cast<int>(channel % 7) - 3));
  constexpr uint32_t kSpecials[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f801234, 0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x7f7fffff, 0x3f800000};
  switch (kind) {
    case kNormal: return std::bit_cast<uint32_t>(normal(random));
    case kBits: return random();
    case kZeros: return 0;
    case kConstant: return 0x40490fdb;
    case kSpecial: return kSpecials[random() % std::size(kSpecials)];
    case kSubnormal: return random() & 0x807fffff;
    case kWide: return std::bit_cast<uint32_t>(std::ldexp(normal(random), static_cast<int>(random() % 60) - 30));
    case kSparse: return random() % 10 ? 0 : std::bit_cast<uint32_t>(normal(random));
    case kKinds: break;
  }
  return 0;
}

std::vector<uint8_t> Raw(const Coder& coder, Kind kind, uint32_t seed) {
  std::mt19937 random(seed);
  const size_t bytes = coder.shape.element_bytes();
  std::vector<uint8_t> raw(coder.shape.RawBytes(coder.tokens));
  for (size_t i = 0; i < raw.size() / bytes; i++) {
    uint32_t bits = Element(kind, random, static_cast<uint32_t>(i % coder.shape.head_dim));
    if (bytes == 2) bits >>= 16;
    std::memcpy(raw.data() + i * bytes, &bits, bytes);
  }
  return raw;
}

template <typename Body>
void ForCases(const Body& body) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    for (const uint32_t tokens : {1u, 7u, 127u, 128u}) {
      for (const uint32_t head_dim : {1u, 16u, 33u, 64u, 128u}) {
        for (int kind = 0; kind < kKinds; kind++) body(Coder{{1 + head_dim % 3, head_dim, dtype}, tokens}, static_cast<Kind>(kind));
      }
    }
  }
}

TEST(every_bit_comes_back_whatever_the_values) {
  uint32_t seed = 1;
  ForCases([&](const Coder& coder, Kind kind) {
    const auto raw = Raw(coder, kind, seed++);
    const auto encoded = coder.Encode(raw);
    std::vector<uint8_t> back(raw.size(), 0xee);
    CHECK(coder.Decode(encoded, back));
    CHECK(back == raw);
    CHECK(encoded.size() <= MostBlockBytes(KvCodec::kLossless, coder.shape, coder.tokens));
    CHECK(encoded.size() >= LeastBlockBytes(KvCodec::kLossless, coder.shape, coder.tokens));
  });
}

TEST(every_instruction_set_writes_and_reads_the_same_bytes) {
  uint32_t seed = 1000;
  ForCases([&](Coder coder, Kind kind) {
    const auto raw = Raw(coder, kind, seed++);
    coder.kernels = SelectCodecKernels("portable");
    const auto expected = coder.Encode(raw);
    for (const char* isa : {"avx2", "avx512"}) {
      coder.kernels = SelectCodecKernels(isa);
      if (coder.kernels == nullptr) continue;
      CHECK(coder.Encode(raw) == expected);
      std::vector<uint8_t> back(raw.size());
      CHECK(coder.Decode(expected, back));
      CHECK(back == raw);
    }
  });
}

TEST(values_like_a_models_shrink_and_noise_never_grows_by_more_than_six_bytes) {
  const Coder coder{{3, 64, KvDtype::kBf16}, 128};
  const double size = static_cast<double>(coder.shape.RawBytes(128));
  CHECK(size / static_cast<double>(coder.Encode(Raw(coder, kNormal, 1)).size()) > 1.4);
  CHECK(coder.Encode(Raw(coder, kBits, 2)).size() <= coder.shape.RawBytes(128) + 6);
}

TEST(a_block_that_says_another_length_is_refused) {
  const Coder coder{{2, 16, KvDtype::kBf16}, 128};
  const auto raw = Raw(coder, kNormal, 3);
  const auto encoded = coder.Encode(raw);
  std::vector<uint8_t> back(raw.size());
  for (size_t size = 0; size < encoded.size(); size++) CHECK(!coder.Decode(std::span(encoded).first(size), back));
  auto longer = encoded;
  longer.push_back(0);
  CHECK(!coder.Decode(longer, back));
  CHECK_EQ(BlockBytesAt(KvCodec::kLossless, coder.shape, 128, longer), encoded.size());
  // One byte more, and the length says so.
  longer[0]++;
  CHECK(!coder.Decode(longer, back));
  for (const uint32_t length : {0u, 1u, 0xffffffffu, static_cast<uint32_t>(MostBlockBytes(KvCodec::kLossless, coder.shape, 128))}) {
    auto forged = encoded;
    std::memcpy(forged.data(), &length, 4);
    CHECK_EQ(BlockBytesAt(KvCodec::kLossless, coder.shape, 128, forged), 0u);
  }
}

// Decoding may succeed where noise bits were hit; it never reads or writes outside (the sanitizers watch).
TEST(mutated_blocks_are_refused_or_decoded_within_bounds) {
  std::mt19937 random(4);
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    for (const Kind kind : {kNormal, kWide, kSpecial, kZeros}) {
      const Coder coder{{2, 16, dtype}, 33};
      const auto raw = Raw(coder, kind, random());
      const auto encoded = coder.Encode(raw);
      std::vector<uint8_t> back(raw.size());
      int refused = 0;
      for (int round = 0; round < 3000; round++) {
        auto broken = encoded;
        for (uint32_t flips = 1 + random() % 4; flips > 0; flips--) broken[random() % broken.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
        refused += !coder.Decode(broken, back);
      }
      CHECK(refused > 0);
    }
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
