#include "kernels/cuda/codec/int8_blocks.h"

#include <cstring>
#include <random>

#include "engine/kv/int8_rows.inl.h"
#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

constexpr int kHeads = 3, kPool = 7;

int TileSize(int dim) { return kBlockTokens * dim; }

uint16_t Bits(bf16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, 2);
  return bits;
}

// A pool of random blocks, one channel an outlier, one all zeros, some values subnormal or huge.
std::vector<bf16> RandomPool(int dim, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<bf16> pool(size_t{kPool} * kHeads * TileSize(dim));
  for (size_t block = 0; block < size_t{kPool} * kHeads; block++) {
    for (int token = 0; token < kBlockTokens; token++) {
      for (int channel = 0; channel < dim; channel++) {
        float x = normal(random) * (channel == 5 ? 40.f : channel == 17 ? 0.f : channel == 30 ? 1e-39f : channel == 44 ? 1e37f : 1.f);
        if (token == 11) x = 0;
        if (token == 12) x *= 1e-38f;
        pool[block * TileSize(dim) + TileOffset(token, channel)] = __float2bfloat16(x);
      }
    }
  }
  return pool;
}

// The block as the host's codec has it: [heads][tokens][channels] of keys, then of values.
std::vector<uint8_t> Raw(const std::vector<bf16>& keys, const std::vector<bf16>& values, int block, int tokens, int dim) {
  std::vector<uint8_t> raw;
  for (const std::vector<bf16>* pool : {&keys, &values}) {
    for (int head = 0; head < kHeads; head++) {
      for (int token = 0; token < tokens; token++) {
        for (int channel = 0; channel < dim; channel++) {
          const uint16_t bits = Bits((*pool)[(size_t(block) * kHeads + head) * TileSize(dim) + TileOffset(token, channel)]);
          raw.push_back(bits & 0xff), raw.push_back(bits >> 8);
        }
      }
    }
  }
  return raw;
}

void CheckTokens(int tokens, int dim) {
  std::mt19937 random(std::random_device{}());
  const std::vector<bf16> keys = RandomPool(dim, random), values = RandomPool(dim, random);
  const DeviceArray<bf16> k(keys), v(values);
  DeviceArray<bf16> k_back(keys.size()), v_back(values.size());
  const std::vector<int32_t> list = {5, 0, 3, 6};
  const DeviceArray<int32_t> blocks(list);
  const int64_t bytes = Int8BlockBytes(kHeads, dim, tokens), stride = (bytes + 15) / 16 * 16 + 16;
  DeviceArray<uint8_t> stored(list.size() * stride);
  Int8Blocks params = {{k.get(), v.get(), int64_t{kHeads} * TileSize(dim), TileSize(dim), nullptr, 0}, blocks.get(), static_cast<int32_t>(list.size()), tokens, kHeads,
                       dim, stored.get(), stride};
  REQUIRE_CUDA(LaunchInt8Encode(params, nullptr));
  params.kv.k = k_back.get(), params.kv.v = v_back.get();
  REQUIRE_CUDA(LaunchInt8Decode(params, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<uint8_t> got = stored.Host();
  const std::vector<bf16> got_k = k_back.Host(), got_v = v_back.Host();
  for (size_t i = 0; i < list.size(); i++) {
    const std::vector<uint8_t> raw = Raw(keys, values, list[i], tokens, dim);
    std::vector<uint8_t> want(bytes), decoded(raw.size());
    EncodeInt8<uint16_t>(kHeads, tokens, dim, raw.data(), want.data());
    CHECK(std::memcmp(got.data() + i * stride, want.data(), bytes) == 0);
    CHECK_EQ(int{got[i * stride + bytes]}, 0xff);  // nothing past the block is written
    DecodeInt8<uint16_t>(kHeads, tokens, dim, want.data(), decoded.data());
    CHECK(Raw(got_k, got_v, list[i], tokens, dim) == decoded);
    for (int token = tokens; token < kBlockTokens; token++) {
      CHECK_EQ(Bits(got_k[size_t(list[i]) * kHeads * TileSize(dim) + TileOffset(token, 9)]), 0);
      CHECK_EQ(Bits(got_v[size_t(list[i]) * kHeads * TileSize(dim) + TileOffset(token, 9)]), 0);
    }
  }
  CHECK_EQ(Bits(got_k[kHeads * TileSize(dim)]), 0xffff);  // block 1 is in no list
}

TEST(int8_blocks_are_the_hosts_bytes_both_ways) { for (const int dim : {64, 128, 256}) CheckTokens(128, dim); }
TEST(int8_blocks_of_fewer_tokens_are_too) {
  for (const int tokens : {1, 5, 64, 127}) CheckTokens(tokens, tokens % 2 == 0 ? 64 : 128);
}
TEST(int8_blocks_refuse_a_stride_without_room) {
  Int8Blocks params = {};
  params.count = 1, params.tokens = 128, params.kv_heads = 1, params.head_dim = 128, params.stored_stride = 128;
  CHECK_EQ(LaunchInt8Encode(params, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
