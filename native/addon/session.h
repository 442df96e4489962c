// One open engine with its two threads: steps run on one, KV transfers on the other, so that publishing blocks never
// delays a step. Knows nothing of Node: tasks come in, finished tasks go out through SessionEvents.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace longshore {

// Bounds of what may wait in a session; more is refused with kOutOfMemory.
constexpr size_t kMaxWaitingSteps = 64;
constexpr size_t kMaxWaitingTransfers = 256;

// One call. Created on the JS thread, run on a session's thread, then handed to SessionEvents::finished exactly once.
class Task {
 public:
  virtual ~Task() = default;
  // `stop` becomes non-zero when the environment ends and the task should give up.
  virtual Status Run(const std::atomic<int32_t>& stop) = 0;
  // Called while Run may be running, when the environment ends.
  virtual void Cancel() {}
  Status status;
};

class Session;

struct SessionEvents {
  // Called on a session thread; takes the task over. Must not block.
  std::function<void(std::unique_ptr<Task>)> finished;
  // The session's very last call: both threads are about to return and can be joined.
  std::function<void()> ended;
};

class Session {
 public:
  enum Lane { kSteps = 0, kTransfers = 1 };

  explicit Session(SessionEvents events) : events_(std::move(events)) {}
  ~Session();

  // Starts the threads. kOutOfMemory when the system gives none; then the session must be discarded.
  Status Start();
  // Takes the task over when it returns Ok; otherwise kClosed or kOutOfMemory, and the task is untouched.
  Status Submit(Lane lane, std::unique_ptr<Task>& task);
  // Refuses new tasks and finishes waiting ones with kClosed; the running ones end by themselves, then the engine closes and
  // `waiter` (may be null) is finished. False when the session had ended already; then the waiter is untouched.
  bool Close(std::unique_ptr<Task>& waiter);
  // Close, and also asks the running tasks to give up.
  void Abandon();
  void Join();

  // Set once, by the task that opens the engine; read by later tasks and, until Close, by the thread that submits.
  void set_engine(std::unique_ptr<Engine> engine) { engine_ = std::move(engine); }
  Engine* engine() const { return engine_.get(); }
  bool closing() const { return closing_; }

 private:
  void Work(Lane lane);
  void Finish(std::unique_ptr<Task> task) { events_.finished(std::move(task)); }

  SessionEvents events_;
  std::unique_ptr<Engine> engine_;
  std::atomic<int32_t> stop_{0};
  std::atomic<bool> closing_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Task>> waiting_[2];
  Task* running_[2] = {nullptr, nullptr};
  bool transfers_ended_ = false;
  bool ended_ = false;  // the engine is closed
  std::atomic<int> threads_left_{2};
  std::vector<std::unique_ptr<Task>> close_waiters_;
  std::thread threads_[2];
};

}  // namespace longshore
