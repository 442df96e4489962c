#include "engine/kv/codec.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/kv/bf16.h"
#include "test/check.h"

namespace longshore {
namespace {

std::vector<uint8_t> RandomRaw(const KvShape& shape, uint32_t tokens, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.f, 2.f);
  std::vector<uint8_t> raw(shape.RawBytes(tokens));
  for (size_t i = 0; i < raw.size() / shape.element_bytes(); i++) {
    const float x = normal(random) * (i % 13 == 0 ? 20.f : 1.f);
    const uint16_t half = Bf16OfFloat(x);
    if (shape.dtype == KvDtype::kF32) std::memcpy(raw.data() + 4 * i, &x, 4);
    else std::memcpy(raw.data() + 2 * i, &half, 2);
  }
  return raw;
}

float At(const KvShape& shape, std::span<const uint8_t> raw, size_t i) {
  uint16_t half;
  float full;
  if (shape.dtype == KvDtype::kF32) return std::memcpy(&full, raw.data() + 4 * i, 4), full;
  return std::memcpy(&half, raw.data() + 2 * i, 2), FloatOfBf16(half);
}

const CodecKernels& Best() { return *SelectCodecKernels("auto"); }

size_t Encode(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> encoded, const CodecKernels& kernels = Best()) {
  std::vector<uint8_t> scratch(CodecScratchBytes(codec, shape));
  return EncodeBlock(codec, shape, tokens, raw, encoded, scratch, kernels);
}

bool Decode(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> encoded, std::span<uint8_t> raw, const CodecKernels& kernels = Best()) {
  std::vector<uint8_t> scratch(CodecScratchBytes(codec, shape));
  return DecodeBlock(codec, shape, tokens, encoded, raw, scratch, kernels);
}

// The slow obvious twin of the int8 encoder, from the format's text.
std::vector<uint8_t> TwinEncode(const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw) {
  std::vector<uint8_t> out;
  const auto put_float = [&](float x) {
    uint8_t bytes[4];
    std::memcpy(bytes, &x, 4);
    out.insert(out.end(), bytes, bytes + 4);
  };
  for (int value = 0; value < 2; value++) {
    for (uint32_t head = 0; head < shape.kv_heads; head++) {
      const auto x = [&](uint32_t t, uint32_t c) {
        return At(shape, raw, ((static_cast<size_t>(value) * shape.kv_heads + head) * tokens + t) * shape.head_dim + c);
      };
      std::vector<float> scales(value ? tokens : shape.head_dim, 0.f);
      for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t c = 0; c < shape.head_dim; c++) {
          float& s = scales[value ? t : c];
          s = std::max(s, std::fabs(x(t, c)));
        }
      }
      for (float& s : scales) put_float(s /= 127.f);
      for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t c = 0; c < shape.head_dim; c++) {
          const float s = scales[value ? t : c];
          out.push_back(s == 0.f ? 0 : static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(x(t, c) / s))));
        }
      }
    }
  }
  return out;
}

template <typename Body>
void ForShapes(const Body& body) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    for (const uint32_t tokens : {1u, 7u, 127u, 128u}) {
      for (const uint32_t head_dim : {1u, 16u, 33u, 64u, 128u}) body(KvShape{1 + head_dim % 3, head_dim, dtype}, tokens);
    }
  }
}

TEST(raw_gives_back_the_same_bytes) {
  ForShapes([](const KvShape& shape, uint32_t tokens) {
    const auto raw = RandomRaw(shape, tokens, 1);
    std::vector<uint8_t> encoded(MostBlockBytes(KvCodec::kRaw, shape, tokens)), back(raw.size());
    Encode(KvCodec::kRaw, shape, tokens, raw, encoded);
    CHECK(Decode(KvCodec::kRaw, shape, tokens, encoded, back));
    CHECK(encoded == raw);
    CHECK(back == raw);
  });
}

TEST(int8_writes_exactly_the_bytes_of_the_formats_text) {
  ForShapes([](const KvShape& shape, uint32_t tokens) {
    const auto raw = RandomRaw(shape, tokens, tokens * 31 + shape.head_dim);
    std::vector<uint8_t> encoded(MostBlockBytes(KvCodec::kInt8, shape, tokens));
    Encode(KvCodec::kInt8, shape, tokens, raw, encoded);
    CHECK(encoded == TwinEncode(shape, tokens, raw));
  });
}

TEST(int8_error_is_at_most_half_a_step) {
  ForShapes([](const KvShape& shape, uint32_t tokens) {
    const auto raw = RandomRaw(shape, tokens, 5);
    std::vector<uint8_t> encoded(MostBlockBytes(KvCodec::kInt8, shape, tokens)), back(raw.size());
    Encode(KvCodec::kInt8, shape, tokens, raw, encoded);
    CHECK(Decode(KvCodec::kInt8, shape, tokens, encoded, back));
    const size_t count = raw.size() / shape.element_bytes();
    for (size_t i = 0; i < count; i++) {
      const bool value = i >= count / 2;
      const size_t row = i / shape.head_dim * shape.head_dim, head = i / (size_t{tokens} * shape.head_dim) * tokens * shape.head_dim;
      float max = 0;
      if (value) {
        for (size_t c = 0; c < shape.head_dim; c++) max = std::max(max, std::fabs(At(shape, raw, row + c)));
      } else {
        for (size_t t = 0; t < tokens; t++) max = std::max(max, std::fabs(At(shape, raw, head + t * shape.head_dim + i % shape.head_dim)));
      }
      const float x = At(shape, raw, i), y = At(shape, back, i);
      const float rounding = shape.dtype == KvDtype::kBf16 ? std::fabs(x) / 256.f + max / 32512.f : max * 1e-6f;
      CHECK(std::fabs(x - y) <= max / 254.f * 1.001f + rounding);
    }
  });
}

TEST(int8_is_half_of_bf16_and_a_little) {
  const KvShape shape{3, 64, KvDtype::kBf16};
  const double ratio = static_cast<double>(shape.RawBytes(128)) / static_cast<double>(MostBlockBytes(KvCodec::kInt8, shape, 128));
  CHECK(ratio > 1.9 && ratio < 2.0);
}

TEST(a_channel_or_token_that_is_not_finite_spoils_only_itself) {
  const KvShape shape{1, 4, KvDtype::kF32};
  const float inf = INFINITY;
  // Keys [2][4] (scales by column), then values [2][4] (scales by row).
  const float inputs[16] = {0, 1.f, inf, NAN, 0, -2.f, 1, 1, NAN, -0.f, 2, 3, 0, 0, 0, 0};
  std::vector<uint8_t> raw(shape.RawBytes(2)), encoded(MostBlockBytes(KvCodec::kInt8, shape, 2)), back(raw.size());
  REQUIRE(raw.size() == sizeof(inputs));
  std::memcpy(raw.data(), inputs, sizeof(inputs));
  Encode(KvCodec::kInt8, shape, 2, raw, encoded);
  CHECK(Decode(KvCodec::kInt8, shape, 2, encoded, back));
  const auto y = [&](size_t i) { return At(shape, back, i); };
  CHECK_EQ(y(0), 0.f);
  CHECK_EQ(y(4), 0.f);
  CHECK_NEAR(y(1), 1.f, 2.f / 254);
  CHECK_EQ(y(5), -2.f);
  CHECK(!std::isfinite(y(2)));
  CHECK_EQ(y(3), 0.f);
  CHECK_NEAR(y(7), 1.f, 1e-6);
  CHECK_EQ(y(8), 0.f);
  CHECK_NEAR(y(11), 3.f, 1e-6);
  for (size_t i = 12; i < 16; i++) CHECK_EQ(y(i), 0.f);
}

TEST(subnormal_values_stay_within_range) {
  const KvShape shape{1, 1, KvDtype::kF32};
  for (const float x : {1e-45f, 8.9e-44f, 2.7e-43f, 1e-40f}) {
    std::vector<uint8_t> raw(8), encoded(MostBlockBytes(KvCodec::kInt8, shape, 1)), back(8);
    std::memcpy(raw.data(), &x, 4);
    Encode(KvCodec::kInt8, shape, 1, raw, encoded);
    CHECK(Decode(KvCodec::kInt8, shape, 1, encoded, back));
    CHECK(At(shape, back, 0) >= 0.f && At(shape, back, 0) <= 1.5f * x);
  }
}

TEST(the_chains_first_block_stays_raw) {
  CHECK(BlockCodec(KvCodec::kInt8, 0, 0) == KvCodec::kRaw);
  CHECK(BlockCodec(KvCodec::kInt8, 0, 1) == KvCodec::kInt8);
  CHECK(BlockCodec(KvCodec::kInt8, 128, 0) == KvCodec::kInt8);
}

TEST(bf16_rounds_to_nearest_even) {
  CHECK_EQ(Bf16OfFloat(1.f), 0x3f80);
  CHECK_EQ(Bf16OfFloat(1.f + 1.f / 256), 0x3f80);   // tie, even below
  CHECK_EQ(Bf16OfFloat(1.f + 3.f / 256), 0x3f82);   // tie, even above
  CHECK_EQ(Bf16OfFloat(1.f + 1.01f / 256), 0x3f81);
  CHECK_EQ(Bf16OfFloat(-INFINITY), 0xff80);
  CHECK(std::isnan(FloatOfBf16(Bf16OfFloat(NAN))));
  CHECK_EQ(Bf16OfFloat(3.4e38f), 0x7f80);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
