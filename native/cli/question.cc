#include "cli/question.h"

#include <fstream>

#include "engine/formats/json.h"

namespace longshore::cli {
namespace {

Result<std::vector<uint32_t>> Ids(const JsonValue& line, const char* key) {
  const JsonValue* member = line.Find(key);
  const auto* array = member ? member->array() : nullptr;
  if (array == nullptr || array->empty()) return Status{Code::kCorrupt, std::string("a line has no list \"") + key + "\""};
  std::vector<uint32_t> ids;
  for (const JsonValue& value : *array) {
    if (!value.integer() || *value.integer() < 0 || *value.integer() > UINT32_MAX) return Status{Code::kCorrupt, std::string(key) + " holds something else than token ids"};
    ids.push_back(static_cast<uint32_t>(*value.integer()));
  }
  return ids;
}

}  // namespace

Result<std::vector<Question>> ReadQuestions(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status{Code::kNotFound, "no file \"" + path + "\""};
  std::vector<Question> questions;
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    const auto json = ParseJson(line);
    if (!json.ok()) return json.status();
    auto prompt = Ids(json.value(), "prompt_ids"), answer = Ids(json.value(), "answer_ids");
    if (!prompt.ok()) return prompt.status();
    if (!answer.ok()) return answer.status();
    questions.push_back({std::move(prompt.value()), std::move(answer.value())});
  }
  if (questions.empty()) return Status{Code::kCorrupt, "\"" + path + "\" holds no questions"};
  return questions;
}

}  // namespace longshore::cli
