#include "addon/session.h"

#include <chrono>
#include <set>

#include "addon/tokenizer_metadata.h"
#include "engine/kv/transfer.h"
#include "test/check.h"
#include "test/golden_files.h"

namespace longshore {
namespace {

// Collects what a session hands out, as the addon's JS thread does.
struct Outbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<Task>> finished;
  bool ended = false;

  SessionEvents Events() {
    return {.finished =
                [this](std::unique_ptr<Task> task) {
                  const std::lock_guard lock(mutex);
                  finished.push_back(std::move(task));
                  changed.notify_all();
                },
            .ended =
                [this] {
                  const std::lock_guard lock(mutex);
                  ended = true;
                  changed.notify_all();
                }};
  }
  void WaitFor(size_t count) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(30), [&] { return finished.size() >= count; });
    CHECK(finished.size() >= count);
  }
  void WaitForEnd() {
    std::unique_lock lock(mutex);
    CHECK(changed.wait_for(lock, std::chrono::seconds(30), [&] { return ended; }));
  }
};

struct Numbered : Task {
  explicit Numbered(int n) : number(n) {}
  Status Run(const std::atomic<int32_t>&) override { return Status::Ok(); }
  const int number;
};

// Runs until it is let go, cancelled or asked to stop.
struct Held : Task {
  Held(std::atomic<bool>& letting_go, std::atomic<bool>& is_running) : let_go(letting_go), running(is_running) {}
  Status Run(const std::atomic<int32_t>& stop) override {
    running = true;
    while (!let_go && !cancelled && !stop) std::this_thread::yield();
    return let_go ? Status::Ok() : Status{Code::kCancelled, "asked to stop"};
  }
  void Cancel() override { cancelled = true; }
  std::atomic<bool>&let_go, &running;
  std::atomic<bool> cancelled{false};
};

Status Submit(Session& session, Session::Lane lane, std::unique_ptr<Task> task) { return session.Submit(lane, task); }

void HoldSteps(Session& session, std::atomic<bool>& let_go) {
  std::atomic<bool> running{false};
  CHECK_OK(Submit(session, Session::kSteps, std::make_unique<Held>(let_go, running)));
  while (!running) std::this_thread::yield();
}

TEST(tasks_of_a_lane_finish_in_order) {
  Outbox outbox;
  Session session(outbox.Events());
  REQUIRE(session.Start().ok());
  for (int i = 0; i < 50; i++) CHECK_OK(Submit(session, Session::kSteps, std::make_unique<Numbered>(i)));
  outbox.WaitFor(50);
  for (int i = 0; i < 50; i++) CHECK_EQ(static_cast<Numbered*>(outbox.finished[static_cast<size_t>(i)].get())->number, i);
  session.Abandon();
  outbox.WaitForEnd();
}

TEST(a_full_lane_refuses_and_the_other_lane_goes_on) {
  Outbox outbox;
  Session session(outbox.Events());
  REQUIRE(session.Start().ok());
  std::atomic<bool> let_go{false};
  HoldSteps(session, let_go);
  for (size_t i = 0; i < kMaxWaitingSteps; i++) CHECK_OK(Submit(session, Session::kSteps, std::make_unique<Numbered>(0)));
  CHECK(Submit(session, Session::kSteps, std::make_unique<Numbered>(0)).code() == Code::kOutOfMemory);
  CHECK_OK(Submit(session, Session::kTransfers, std::make_unique<Numbered>(77)));
  outbox.WaitFor(1);
  CHECK_EQ(static_cast<Numbered*>(outbox.finished[0].get())->number, 77);
  let_go = true;
  outbox.WaitFor(2 + kMaxWaitingSteps);
  session.Abandon();
  outbox.WaitForEnd();
}

TEST(close_lets_the_running_task_end_and_refuses_the_waiting_ones) {
  Outbox outbox;
  Session session(outbox.Events());
  REQUIRE(session.Start().ok());
  std::atomic<bool> let_go{false};
  HoldSteps(session, let_go);
  CHECK_OK(Submit(session, Session::kSteps, std::make_unique<Numbered>(1)));
  std::unique_ptr<Task> waiter = std::make_unique<Numbered>(2);
  CHECK(session.Close(waiter));
  CHECK(Submit(session, Session::kSteps, std::make_unique<Numbered>(3)).code() == Code::kClosed);
  let_go = true;
  outbox.WaitForEnd();
  REQUIRE(outbox.finished.size() == 3);
  CHECK_OK(outbox.finished[0]->status);
  CHECK(outbox.finished[1]->status.code() == Code::kClosed);
  CHECK_EQ(static_cast<Numbered*>(outbox.finished[2].get())->number, 2);
  waiter = std::make_unique<Numbered>(4);
  CHECK(!session.Close(waiter));
  CHECK(waiter != nullptr);
}

TEST(abandon_stops_what_runs) {
  Outbox outbox;
  Session session(outbox.Events());
  REQUIRE(session.Start().ok());
  std::atomic<bool> never{false};
  HoldSteps(session, never);
  session.Abandon();
  outbox.WaitForEnd();
  REQUIRE(outbox.finished.size() == 1);
  CHECK(outbox.finished[0]->status.code() == Code::kCancelled);
  session.Join();
}

// The pool is freed by the step thread while the other one may still be reading it, unless the session waits.
TEST(the_engine_closes_only_after_the_last_transfer) {
  struct Export : Task {
    explicit Export(Session& s) : session(s) {}
    Status Run(const std::atomic<int32_t>&) override {
      const KvRange range{.blocks = {0, 1, 2, 3, 4, 5, 6, 7}, .codec = KvCodec::kInt8, .first_token = 128};
      const KvShape shape = ShapeOf(session.engine()->info(), KvDtype::kBf16);
      return ExportBlocks(*session.engine(), range, shape, 2).status();
    }
    Session& session;
  };
  for (int round = 0; round < 20; round++) {
    Outbox outbox;
    Session session(outbox.Events());
    REQUIRE(session.Start().ok());
    auto engine = Engine::Open({.model_path = test::GoldenPath("tiny/llama"), .threads = 1, .kv_blocks = 8});
    REQUIRE(engine.ok());
    session.set_engine(std::move(engine.value()));
    for (int i = 0; i < 5; i++) CHECK_OK(Submit(session, Session::kTransfers, std::make_unique<Export>(session)));
    if (round % 2) outbox.WaitFor(1);
    std::unique_ptr<Task> nobody;
    session.Close(nobody);
    outbox.WaitForEnd();
    CHECK_EQ(outbox.finished.size(), size_t{5});
    for (const auto& task : outbox.finished) CHECK(task->status.ok() || task->status.code() == Code::kClosed);
    CHECK(session.engine()->ReadBlock(0, 0, 1, {}).code() == Code::kClosed);
  }
}

TEST(an_exception_becomes_a_status) {
  struct Throws : Task {
    Status Run(const std::atomic<int32_t>&) override { throw std::bad_alloc(); }
  };
  Outbox outbox;
  Session session(outbox.Events());
  REQUIRE(session.Start().ok());
  CHECK_OK(Submit(session, Session::kTransfers, std::make_unique<Throws>()));
  outbox.WaitFor(1);
  CHECK(outbox.finished[0]->status.code() == Code::kOutOfMemory);
  session.Abandon();
  outbox.WaitForEnd();
}

TEST(tokenizer_metadata_needs_a_model_and_tokens_and_ignores_keys_of_other_types) {
  Metadata metadata;
  CHECK(!TokenizerOf(metadata).has_value());
  metadata["tokenizer.ggml.model"] = std::string_view("gpt2");
  CHECK(!TokenizerOf(metadata).has_value());
  metadata["tokenizer.ggml.tokens"] = std::vector<std::string_view>{"a", "b"};
  metadata["tokenizer.ggml.scores"] = std::string_view("not numbers");
  metadata["tokenizer.ggml.bos_token_id"] = int64_t{-1};
  metadata["tokenizer.ggml.eos_token_id"] = uint64_t{1};
  const auto tokenizer = TokenizerOf(metadata);
  REQUIRE(tokenizer.has_value());
  CHECK_EQ(tokenizer->tokens->size(), size_t{2});
  CHECK(tokenizer->scores == nullptr);
  CHECK(!tokenizer->bos_id.has_value());
  CHECK_EQ(*tokenizer->eos_id, 1.0);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
