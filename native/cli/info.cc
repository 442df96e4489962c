#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"

namespace longshore::cli {

Status Info(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  if (Status status = arguments.Finish(); !status.ok()) return status;
  auto engine = OpenFor(options, 1);
  if (!engine.ok()) return engine.status();
  const ModelInfo& info = engine.value()->info();
  JsonLine()
      .Add("family", info.family)
      .Add("name", info.name)
      .Add("weights_format", info.weights_format)
      .Add("weights_digest", info.weights_digest)
      .Add("weight_bytes", info.weight_bytes)
      .Add("layers", info.layers)
      .Add("hidden", info.hidden)
      .Add("heads", info.heads)
      .Add("kv_heads", info.kv_heads)
      .Add("head_dim", info.head_dim)
      .Add("intermediate", info.intermediate)
      .Add("vocab", info.vocab)
      .Add("context_length", info.context_length)
      .Add("kv_bytes_per_token", info.kv_bytes_per_token)
      .Add("eos_ids", info.eos_ids)
      .Add("numerics", info.numerics)
      .Add("backend", info.backend)
      .Add("config", info.config_json)
      .Print();
  return Status::Ok();
}

}  // namespace longshore::cli
