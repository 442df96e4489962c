// The default number of threads.
#include "engine/cores.h"
#include "test/check.h"

namespace longshore {
namespace {

TEST(a_quota_is_rounded_up_to_whole_cores) {
  CHECK_EQ(CoresOfQuota("200000 100000"), 2u);
  CHECK_EQ(CoresOfQuota("150000 100000"), 2u);
  CHECK_EQ(CoresOfQuota("1000 100000"), 1u);
  CHECK_EQ(CoresOfQuota("18446744073709551615 1"), 1u << 20);
}

TEST(no_quota_and_nonsense_mean_no_limit) {
  for (const char* text : {"max 100000", "", "max", "0 100000", "100000", "100000 0", "-5 100000", "1e5 100000", "abc def"}) CHECK_EQ(CoresOfQuota(text), 0u);
}

TEST(there_is_always_a_core) { CHECK(AvailableCores() >= 1); }

}  // namespace
}  // namespace longshore

TEST_MAIN
