#include "engine/thread_pool.h"

namespace longshore {
namespace {

constexpr int kSpin = 20000;  // polls before a worker sleeps: some 0.3 ms, longer than the serial parts of a decode step

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr uint64_t Epoch(uint64_t s) { return s >> 40; }
constexpr uint32_t Count(uint64_t s) { return static_cast<uint32_t>(s >> 20) & ThreadPool::kMaxTasks; }
constexpr uint32_t Next(uint64_t s) { return static_cast<uint32_t>(s) & ThreadPool::kMaxTasks; }

}  // namespace

ThreadPool::ThreadPool(uint32_t threads) {
  if (threads > kMaxThreads) threads = kMaxThreads;
  for (uint32_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Loop(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& t : workers_) t.join();
}

bool ThreadPool::Work(uint32_t thread) {
  bool any = false;
  uint64_t s = state_.load(std::memory_order_acquire);
  while (Next(s) < Count(s)) {
    if (!state_.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    call_(body_, Next(s), thread);
    finished_.fetch_add(1, std::memory_order_release);
    any = true;
    s = state_.load(std::memory_order_acquire);
  }
  return any;
}

void ThreadPool::Loop(uint32_t thread) {
  int idle = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (Work(thread)) {
      idle = 0;
    } else if (++idle < kSpin) {
      Pause();
      if (idle % 256 == 0) std::this_thread::yield();
    } else {
      idle = 0;
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [this] {
        const uint64_t s = state_.load();
        return stop_.load() || Next(s) < Count(s);
      });
      sleepers_.fetch_sub(1);
    }
  }
}

void ThreadPool::RunErased(uint32_t count, const void* body, Call call) {
  if (count == 0) return;
  if (count == 1 || workers_.empty()) {
    for (uint32_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  body_ = body;
  call_ = call;
  finished_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = (Epoch(state_.load(std::memory_order_relaxed)) + 1) & 0xffffff;
  state_.store(epoch << 40 | uint64_t{count} << 20);  // sequentially consistent with sleepers_: a sleeper sees it or is seen
  if (sleepers_.load() != 0) {
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  Work(0);
  for (int polls = 0; finished_.load(std::memory_order_acquire) != count;) {
    Pause();
    if (++polls % 256 == 0) std::this_thread::yield();
  }
}

}  // namespace longshore
