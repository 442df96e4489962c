#include "kernels/cuda/linear/random_weights.h"

#include <cmath>

#include "engine/philox.h"
#include "kernels/cuda/test/device_array.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

TEST(random_weights_are_the_hosts_philox) {
  DeviceArray<bf16> out(1 << 20);
  REQUIRE_CUDA(LaunchRandomNormal({out.get(), 1 << 20, 12345, 0.5f}, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<bf16> got = out.Host();
  double sum = 0, squares = 0;
  for (size_t i = 0; i < got.size(); i++) sum += __bfloat162float(got[i]), squares += __bfloat162float(got[i]) * __bfloat162float(got[i]);
  CHECK(std::fabs(sum / got.size()) < 5e-3);
  CHECK(std::fabs(std::sqrt(squares / got.size()) - 0.5) < 5e-3);
  for (const uint32_t i : {0u, 1u, 77777u, (1u << 18) - 1}) {
    const auto r = Philox({i, 0, 0, 0}, {12345, 0});
    const double radius = 0.5 * std::sqrt(-2 * std::log(((r[0] >> 8) + 1.0) * 0x1p-24)), angle = 3.14159265358979323846 * (r[1] >> 8) * 0x1p-23;
    CHECK(std::fabs(__bfloat162float(got[size_t(4) * i]) - radius * std::cos(angle)) < 2e-2);
    CHECK(std::fabs(__bfloat162float(got[size_t(4) * i + 1]) - radius * std::sin(angle)) < 2e-2);
  }
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
