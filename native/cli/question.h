// A prompt and the greedy answer that is right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/status.h"

namespace longshore::cli {

struct Question {
  std::vector<uint32_t> prompt, answer;
};

// Lines {"prompt_ids": [...], "answer_ids": [...]}; neither may be empty. kNotFound or kCorrupt.
Result<std::vector<Question>> ReadQuestions(const std::string& path);

}  // namespace longshore::cli
