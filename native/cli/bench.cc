#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"

namespace longshore::cli {
namespace {

// Any ids do for dense arithmetic: it takes the same time for all of them. Sparse attention finds structure only where there is some:
// runs of `run` equal tokens are the plainest kind.
std::vector<uint32_t> SomeTokens(uint32_t count, uint32_t vocab, uint32_t run) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t i = 0; i < count; i++) tokens[i] = (i / run * 2654435761u >> 7) % vocab;
  return tokens;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Shares of the causal score entries of a prefill's sparse rows: computed with their values, and scored without.
struct Density {
  double computed = 1, scanned = 0;
};

struct Bench {
  Engine& engine;
  const EngineOptions& options;

  void Print(const char* kind, uint32_t n, uint32_t tokens, const std::vector<double>& ms, const Density& density) const {
    const double median = Median(ms);
    JsonLine()
        .Add("bench", kind)
        .Add("n", n)
        .Add("tokens", tokens)
        .Add("tokens_per_s", 1000.0 * tokens / median, 1)
        .Add("ms", median, 3)
        .Add("ms_min", *std::min_element(ms.begin(), ms.end()), 3)
        .Add("repeats", static_cast<uint64_t>(ms.size()))
        .Add("threads", options.threads > 0 ? options.threads : std::thread::hardware_concurrency())
        .Add("isa", engine.info().numerics)
        .Add("kv_dtype", options.kv_dtype == KvDtype::kF32 ? "f32" : "bf16")
        .Add("model", engine.info().name)
        .Add("weights", engine.info().weights_format)
        .Add("backend", engine.info().backend)
        .Add("policy", options.policy)
        .Add("density", density.computed, 5)
        .Add("scanned", density.scanned, 5)
        .Print();
  }
};

}  // namespace

Status Bench(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const std::vector<uint32_t> lengths = arguments.Integers("prefill", {512, 2048});
  const auto decode = static_cast<uint32_t>(arguments.Integer("decode", 64, 1u << 20));
  const auto run_length = static_cast<uint32_t>(arguments.Integer("run-length", 1, 1u << 20));
  const uint64_t repeats = std::max<uint64_t>(1, arguments.Integer("repeat", 3, 1000));
  if (Status status = arguments.Finish(); !status.ok()) return status;
  if (run_length == 0) return {Code::kInvalidArgument, "--run-length must be at least 1"};
  const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
  if (longest == 0 || longest > (1u << 24)) return {Code::kInvalidArgument, "--prefill lengths must be from 1 to 16777216"};
  auto opened = OpenFor(options, uint64_t{longest} + decode);
  if (!opened.ok()) return opened.status();
  Engine& engine = *opened.value();
  const struct Bench bench{engine, options};
  const auto tokens = SomeTokens(longest, engine.info().vocab, run_length);
  const SamplingParams greedy;
  using Clock = std::chrono::steady_clock;
  for (const uint32_t n : lengths) {
    if (n == 0) continue;
    Sequence sequence(engine, options.max_batch_tokens);
    std::vector<double> prefill_ms, decode_ms;
    const EngineStats before = engine.stats();
    uint32_t next = 0;
    // One run more than asked: the first touches memory for the first time.
    for (uint64_t run = 0; run <= repeats; run++) {
      sequence.Rewind(0);
      const auto start = Clock::now();
      if (Status status = sequence.Feed(std::span(tokens).first(n), &greedy, &next); !status.ok()) return status;
      const auto prefilled = Clock::now();
      for (uint32_t i = 0; i < decode; i++) {
        if (Status status = sequence.Feed({&next, 1}, &greedy, &next); !status.ok()) return status;
      }
      const auto end = Clock::now();
      if (run == 0) continue;
      prefill_ms.push_back(std::chrono::duration<double, std::milli>(prefilled - start).count());
      decode_ms.push_back(std::chrono::duration<double, std::milli>(end - prefilled).count());
    }
    const EngineStats after = engine.stats();
    const uint64_t causal = after.causal_entries - before.causal_entries;
    const auto share = [&](uint64_t entries) { return static_cast<double>(entries) / static_cast<double>(causal); };
    const Density density = causal == 0 ? Density() : Density{share(after.computed_entries - before.computed_entries), share(after.scanned_entries - before.scanned_entries)};
    bench.Print("prefill", n, n, prefill_ms, density);
    if (decode > 0) bench.Print("decode", n, decode, decode_ms, {});
  }
  return Status::Ok();
}

}  // namespace longshore::cli
