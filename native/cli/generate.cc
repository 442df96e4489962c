#include <algorithm>
#include <chrono>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"

namespace longshore::cli {

Status Generate(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const SamplingParams sampling = ReadSampling(arguments);
  const std::string source = arguments.Text("tokens");
  const uint64_t most = arguments.Integer("max", 48);
  const bool ignore_eos = arguments.Switch("ignore-eos");
  if (Status status = arguments.Finish(); !status.ok()) return status;
  if (source.empty()) return {Code::kInvalidArgument, "generate needs --tokens"};
  const auto prompt = ReadTokens(source);
  if (!prompt.ok()) return prompt.status();
  auto engine = OpenFor(options, prompt.value().size() + most);
  if (!engine.ok()) return engine.status();

  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
  Sequence sequence(*engine.value(), options.max_batch_tokens);
  const auto& eos = engine.value()->info().eos_ids;
  std::vector<uint32_t> generated;
  uint32_t next = 0;
  const auto start = Clock::now();
  if (Status status = sequence.Feed(prompt.value(), &sampling, &next); !status.ok()) return status;
  const auto first = Clock::now();
  bool ended = false;
  while (generated.size() < most) {
    generated.push_back(next);
    ended = !ignore_eos && std::find(eos.begin(), eos.end(), next) != eos.end();
    if (ended || generated.size() == most) break;
    if (Status status = sequence.Feed({&generated.back(), 1}, &sampling, &next); !status.ok()) return status;
  }
  JsonLine()
      .Add("tokens", generated)
      .Add("prompt_tokens", static_cast<uint64_t>(prompt.value().size()))
      .Add("stop", ended ? "eos" : "length")
      .Add("prefill_ms", ms(start, first), 2)
      .Add("decode_ms", ms(first, Clock::now()), 2)
      .Add("numerics", engine.value()->info().numerics)
      .Print();
  return Status::Ok();
}

}  // namespace longshore::cli
