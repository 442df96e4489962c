// Times the codecs' kernels over a layer's blocks of the Llama-3-8B shape (8 kv heads of 128) and prints JSON lines; GB/s of bf16.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "kernels/cuda/codec/int8_blocks.h"
#include "kernels/cuda/linear/random_weights.h"
#include "kernels/cuda/test/device_array.h"

int main() {
  using namespace longshore::cuda;
  using namespace longshore::cuda::test;
  constexpr int kCount = 1024, kHeads = 8, kDim = 128, kTile = kBlockTokens * kDim;  // 128K tokens
  const int64_t elements = int64_t{kCount} * kHeads * kTile;
  DeviceArray<bf16> k(elements), v(elements);
  REQUIRE_CUDA(LaunchRandomNormal({k.get(), elements, 1, 1.f}, nullptr));
  REQUIRE_CUDA(LaunchRandomNormal({v.get(), elements, 2, 1.f}, nullptr));
  std::vector<int32_t> list(kCount);
  for (int i = 0; i < kCount; i++) list[i] = (i * 389) % kCount;
  const DeviceArray<int32_t> blocks(list);
  const int64_t stride = Int8BlockBytes(kHeads, kDim, kBlockTokens);
  DeviceArray<uint8_t> stored(stride * kCount);
  const Int8Blocks params = {{k.get(), v.get(), int64_t{kHeads} * kTile, kTile, nullptr, 0}, blocks.get(), kCount, kBlockTokens, kHeads, kDim,
                             stored.get(), stride};
  cudaEvent_t start, end;
  REQUIRE_CUDA(cudaEventCreate(&start));
  REQUIRE_CUDA(cudaEventCreate(&end));
  for (const bool encode : {true, false}) {
    std::vector<float> times;
    for (int i = 0; i < 9; i++) {
      float ms = 0;
      REQUIRE_CUDA(cudaEventRecord(start));
      REQUIRE_CUDA(encode ? LaunchInt8Encode(params, nullptr) : LaunchInt8Decode(params, nullptr));
      REQUIRE_CUDA(cudaEventRecord(end));
      REQUIRE_CUDA(cudaEventSynchronize(end));
      REQUIRE_CUDA(cudaEventElapsedTime(&ms, start, end));
      times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    const double raw = 4.0 * static_cast<double>(elements), moved = raw + static_cast<double>(stride) * kCount;
    std::printf("{\"what\":\"codec\",\"codec\":\"int8\",\"direction\":\"%s\",\"tokens\":%d,\"ms\":%.4f,\"raw_gb_s\":%.0f,\"moved_tb_s\":%.3f}\n", encode ? "encode" : "decode",
                kCount * kBlockTokens, times[4], raw / times[4] / 1e6, moved / times[4] / 1e9);
  }
}
