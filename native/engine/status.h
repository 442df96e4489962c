// Errors of the engine. Nothing in native/ throws across a public function or aborts the process: functions return a
// Status or a Result<T>; the addon turns them into the typed EngineError of native/index.ts.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace longshore {

enum class Code {
  kOk = 0,
  kInvalidArgument,  // the caller's values are out of range
  kNotFound,         // file or tensor missing
  kCorrupt,          // a file or object contradicts itself: truncated, bad magic, checksum mismatch, absurd sizes
  kUnsupported,      // well-formed, but a version, family, type or feature we do not have
  kOutOfMemory,      // an allocation would exceed a stated bound, or failed
  kCancelled,        // stopped by the caller's cancel flag
  kClosed,           // the engine has been closed
  kInternal,         // a bug here; the message says where
};

// Stable lower-case names ("invalid_argument", ...): part of the addon's contract.
const char* CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status Ok() { return {}; }
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit on purpose
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  T& value() { return *value_; }
  const T& value() const { return *value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace longshore
