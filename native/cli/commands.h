// The subcommands of longshore-native. Each reads its own arguments and prints JSON lines.
#pragma once

#include "cli/arguments.h"
#include "engine/status.h"

namespace longshore::cli {

Status Info(Arguments& arguments);
Status Generate(Arguments& arguments);
Status Bench(Arguments& arguments);
Status BenchPrefillAttention(Arguments& arguments);
Status BenchCodec(Arguments& arguments);
Status Evaluate(Arguments& arguments);
Status Decode(Arguments& arguments);
Status AttentionMass(Arguments& arguments);
Status Logits(Arguments& arguments);

}  // namespace longshore::cli
