// "--name value" pairs of a command line, typed. A name that no command reads is an error, so that a typing mistake is never
// silently a default.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/status.h"

namespace longshore::cli {

class Arguments {
 public:
  // argv[2..]; "--name" at the end or before another "--name" is a switch with the value "true".
  static Result<Arguments> Parse(int argc, char** argv);

  bool Has(const std::string& name) const { return values_.contains(name); }
  // Each returns the fallback when absent and remembers the first value that is not of its kind; see Finish.
  std::string Text(const std::string& name, const std::string& fallback = "");
  uint64_t Integer(const std::string& name, uint64_t fallback, uint64_t most = UINT32_MAX);
  double Number(const std::string& name, double fallback);
  bool Switch(const std::string& name) { return Text(name, "false") == "true"; }
  // One of the choices, the first when absent.
  std::string Choice(const std::string& name, const std::vector<std::string>& choices);
  // "1,2,3" or "1 2 3".
  std::vector<uint32_t> Integers(const std::string& name, std::vector<uint32_t> fallback);

  // kInvalidArgument when a value was unreadable or a name was never asked for.
  Status Finish() const;

 private:
  void Fail(const std::string& name, const std::string& expected);

  std::map<std::string, std::string> values_;
  std::map<std::string, bool> read_;
  Status status_;
};

// --model --threads --kv bf16|f32 --isa --exact --backend --batch --policy --decode-policy --decode-min --rescore --keep --blocks
EngineOptions ReadEngineOptions(Arguments& arguments);
// --temperature --top-k --top-p --min-p --repetition-penalty --presence-penalty --frequency-penalty --seed
SamplingParams ReadSampling(Arguments& arguments);

// Token ids separated by commas, spaces or newlines: `text` itself when it starts with a digit, "-" for standard input, else
// the file of that name. kNotFound or kCorrupt.
Result<std::vector<uint32_t>> ReadTokens(const std::string& text);

}  // namespace longshore::cli
