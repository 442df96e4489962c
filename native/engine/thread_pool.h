// The engine's threads: a parallel loop with dynamic shares. The caller works too, so a pool of N threads starts N - 1.
//
// A decode step runs some three hundred short loops per token, so idle workers spin for a while (kSpin) before they sleep,
// and a loop ends when its tasks have ended, not when every worker has noticed it: a worker that the system has put aside
// delays nobody.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace longshore {

class ThreadPool {
 public:
  static constexpr uint32_t kMaxThreads = 256;
  static constexpr uint32_t kMaxTasks = (1u << 20) - 1;  // in flight; longer loops run in parts

  explicit ThreadPool(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

  // Calls body(task, thread) once for each task in [0, count), thread in [0, threads()), and returns when all have returned.
  // One caller at a time; body must not call Run. Everything the tasks wrote is visible after it.
  template <typename Body>
  void Run(uint32_t count, const Body& body) {
    for (uint32_t first = 0; first < count; first += kMaxTasks) {
      const auto shifted = [&body, first](uint32_t task, uint32_t thread) { body(first + task, thread); };
      RunErased(count - first < kMaxTasks ? count - first : kMaxTasks, &shifted,
                [](const void* b, uint32_t task, uint32_t thread) { (*static_cast<const decltype(shifted)*>(b))(task, thread); });
    }
  }

 private:
  using Call = void (*)(const void* body, uint32_t task, uint32_t thread);
  void RunErased(uint32_t count, const void* body, Call call);
  bool Work(uint32_t thread);
  void Loop(uint32_t thread);

  // Epoch (24 bits), task count (20), next task (20) in one word: a worker that comes late can only take a task of the loop
  // that is running, and while it holds one that loop cannot end, so body_ and call_ are that loop's.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<uint32_t> finished_{0};
  const void* body_ = nullptr;
  Call call_ = nullptr;
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace longshore
