// The thread pool: every task once, results visible, many short loops, sleeping and waking.
#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/thread_pool.h"
#include "test/check.h"

namespace longshore {
namespace {

TEST(every_task_runs_exactly_once_and_its_writes_are_visible) {
  for (const uint32_t threads : {1u, 2u, 5u}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.threads(), threads);
    for (uint32_t count : {0u, 1u, 2u, 3u, 1000u, ThreadPool::kMaxTasks + 5}) {
      std::vector<uint32_t> runs(count, 0);  // not atomic: Run must publish them
      bool thread_in_range = true;
      pool.Run(count, [&](uint32_t task, uint32_t thread) {
        runs[task]++;
        if (thread >= threads) thread_in_range = false;
      });
      CHECK(std::all_of(runs.begin(), runs.end(), [](uint32_t r) { return r == 1; }));
      CHECK(thread_in_range);
    }
  }
}

TEST(twenty_thousand_short_loops_do_not_mix_up_their_tasks) {
  ThreadPool pool(4);
  std::vector<uint64_t> sums(7);
  for (uint64_t loop = 0; loop < 20000; ++loop) {
    const uint32_t count = 2 + static_cast<uint32_t>(loop % 6);
    pool.Run(count, [&sums, loop](uint32_t task, uint32_t) { sums[task] += loop; });
  }
  uint64_t expected = 0;
  for (uint64_t loop = 0; loop < 20000; ++loop) expected += loop;
  CHECK_EQ(sums[0], expected);
  CHECK_EQ(sums[1], expected);
}

TEST(sleeping_workers_wake_up) {
  ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<uint32_t> done = 0;
    pool.Run(50, [&](uint32_t, uint32_t) { done++; });
    CHECK_EQ(done.load(), 50u);
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
