#include "addon/session.h"

#include <new>
#include <system_error>

namespace longshore {

Session::~Session() { Join(); }

Status Session::Start() {
  try {
    threads_[kTransfers] = std::thread([this] { Work(kTransfers); });
    threads_[kSteps] = std::thread([this] { Work(kSteps); });
  } catch (const std::system_error&) {
    Abandon();
    Join();
    return {Code::kOutOfMemory, "the system gives the engine no more threads"};
  }
  return Status::Ok();
}

Status Session::Submit(Lane lane, std::unique_ptr<Task>& task) {
  const std::lock_guard lock(mutex_);
  if (closing_) return {Code::kClosed, "the engine is closed"};
  const size_t most = lane == kSteps ? kMaxWaitingSteps : kMaxWaitingTransfers;
  if (waiting_[lane].size() >= most) {
    return {Code::kOutOfMemory, std::to_string(most) + (lane == kSteps ? " steps" : " transfers") + " are waiting already: await some of them first"};
  }
  waiting_[lane].push_back(std::move(task));
  changed_.notify_all();
  return Status::Ok();
}

bool Session::Close(std::unique_ptr<Task>& waiter) {
  const std::lock_guard lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  if (ended_) return false;
  if (waiter) close_waiters_.push_back(std::move(waiter));
  return true;
}

void Session::Abandon() {
  stop_ = 1;
  std::unique_ptr<Task> nobody;
  Close(nobody);
  const std::lock_guard lock(mutex_);
  for (Task* task : running_) {
    if (task) task->Cancel();
  }
}

void Session::Join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Session::Work(Lane lane) {
  for (;;) {
    std::unique_ptr<Task> task;
    bool run = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closing_ || !waiting_[lane].empty(); });
      if (waiting_[lane].empty()) break;
      task = std::move(waiting_[lane].front());
      waiting_[lane].pop_front();
      run = !closing_;
      if (run) running_[lane] = task.get();
    }
    if (run) {
      try {
        task->status = task->Run(stop_);
      } catch (const std::bad_alloc&) {
        task->status = {Code::kOutOfMemory, "the engine ran out of memory"};
      } catch (const std::exception& error) {
        task->status = {Code::kInternal, error.what()};
      }
      const std::lock_guard lock(mutex_);
      running_[lane] = nullptr;
    } else {
      task->status = {Code::kClosed, "the engine was closed"};
    }
    Finish(std::move(task));
  }
  std::vector<std::unique_ptr<Task>> waiters;
  if (lane == kSteps) {
    // The engine frees its pool only after the last transfer has left it.
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return transfers_ended_; });
    lock.unlock();
    if (engine_) engine_->Close();
    lock.lock();
    ended_ = true;
    waiters.swap(close_waiters_);
  } else {
    const std::lock_guard lock(mutex_);
    transfers_ended_ = true;
    changed_.notify_all();
  }
  for (auto& waiter : waiters) Finish(std::move(waiter));
  if (--threads_left_ == 0) events_.ended();
}

}  // namespace longshore
