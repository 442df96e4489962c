// The device's rotation against the CPU's generator, of which engine/decode/sketch_index.cc draws its own.
#include "kernels/cuda/sketch_rotation.cuh"

#include "engine/philox.h"
#include "test/check.h"

namespace longshore::cuda {
namespace {

TEST(sketch_rotation_has_the_signs_of_the_cpu) {
  constexpr uint64_t kSeed = 0x6c6f6e6773686f72;
  for (int i = 0; i < kMaxHeadDim; i++) CHECK_EQ(kSketchSigns.word[i / 32] >> (i % 32) & 1, static_cast<uint32_t>(!(UniformAt(kSeed, i) < 0.5)));
}

}  // namespace
}  // namespace longshore::cuda

TEST_MAIN
