#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"

namespace longshore::cli {

// Raw f32 logits [tokens, vocab] after each token, to a file: what other implementations are compared with.
Status Logits(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const std::string source = arguments.Text("tokens"), out = arguments.Text("out");
  if (Status status = arguments.Finish(); !status.ok()) return status;
  if (source.empty() || out.empty()) return {Code::kInvalidArgument, "logits needs --tokens and --out"};
  const auto tokens = ReadTokens(source);
  if (!tokens.ok()) return tokens.status();
  auto engine = OpenFor(options, tokens.value().size());
  if (!engine.ok()) return engine.status();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(out.c_str(), "wb"), std::fclose);
  if (!file) return {Code::kNotFound, "\"" + out + "\" cannot be written"};
  bool written = true;
  Sequence sequence(*engine.value(), options.max_batch_tokens);
  const Status status = sequence.FeedForLogits(tokens.value(), [&](size_t, std::span<const float> row) {
    written = written && std::fwrite(row.data(), sizeof(float), row.size(), file.get()) == row.size();
  });
  if (!status.ok()) return status;
  if (!written) return {Code::kInternal, "\"" + out + "\" could not be written whole"};
  JsonLine().Add("logits", out).Add("tokens", static_cast<uint64_t>(tokens.value().size())).Add("vocab", engine.value()->info().vocab)
      .Add("numerics", engine.value()->info().numerics).Print();
  return Status::Ok();
}

}  // namespace longshore::cli
