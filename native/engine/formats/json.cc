#include "engine/formats/json.h"

#include <algorithm>
#include <charconv>

#include "engine/formats/errors.h"
#include "engine/formats/utf8.h"

namespace longshore {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<JsonValue> Document() {
    JsonValue value;
    if (Value(0, &value)) {
      SkipSpace();
      if (position_ == text_.size()) return value;
      Fail("text after the document");
    }
    return error_;
  }

 private:
  bool Fail(const char* what) {
    if (error_.ok()) error_ = Corrupt("JSON, byte " + std::to_string(position_) + ": " + what);
    return false;
  }

  bool FailBound(const char* what) {
    if (error_.ok()) error_ = Unsupported(std::string("JSON: more than ") + what);
    return false;
  }

  void SkipSpace() {
    while (position_ < text_.size()) {
      const char c = text_[position_];
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
      ++position_;
    }
  }

  bool Peek(char c) const { return position_ < text_.size() && text_[position_] == c; }

  bool Take(char c) {
    if (!Peek(c)) return false;
    ++position_;
    return true;
  }

  bool TakeWord(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) return false;
    position_ += word.size();
    return true;
  }

  bool Value(int depth, JsonValue* out) {
    if (depth > kMaxJsonDepth) return FailBound("64 levels");
    if (++values_ > kMaxJsonValues) return FailBound("1048576 values");
    SkipSpace();
    if (position_ == text_.size()) return Fail("the text ends where a value is expected");
    switch (text_[position_]) {
      case '{': return Object(depth, out);
      case '[': return Array(depth, out);
      case '"': {
        std::string s;
        if (!String(&s)) return false;
        *out = JsonValue(std::move(s));
        return true;
      }
      case 't': *out = JsonValue(true); return TakeWord("true") || Fail("unknown word");
      case 'f': *out = JsonValue(false); return TakeWord("false") || Fail("unknown word");
      case 'n': *out = JsonValue(); return TakeWord("null") || Fail("unknown word");
      default: return Number(out);
    }
  }

  bool Object(int depth, JsonValue* out) {
    JsonValue::Object members;
    ++position_;
    SkipSpace();
    if (!Take('}')) {
      do {
        SkipSpace();
        std::string key;
        if (!Peek('"')) return Fail("a key is expected");
        if (!String(&key)) return false;
        SkipSpace();
        if (!Take(':')) return Fail("':' is expected");
        JsonValue value;
        if (!Value(depth + 1, &value)) return false;
        members.emplace_back(std::move(key), std::move(value));
        SkipSpace();
      } while (Take(','));
      if (!Take('}')) return Fail("',' or '}' is expected");
    }
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 1; i < members.size(); ++i) {
      if (members[i - 1].first == members[i].first) return Fail("an object names a key twice");
    }
    *out = JsonValue(std::move(members));
    return true;
  }

  bool Array(int depth, JsonValue* out) {
    JsonValue::Array items;
    ++position_;
    SkipSpace();
    if (!Take(']')) {
      do {
        JsonValue value;
        if (!Value(depth + 1, &value)) return false;
        items.push_back(std::move(value));
        SkipSpace();
      } while (Take(','));
      if (!Take(']')) return Fail("',' or ']' is expected");
    }
    *out = JsonValue(std::move(items));
    return true;
  }

  bool String(std::string* out) {
    ++position_;
    while (position_ < text_.size()) {
      const auto c = static_cast<uint8_t>(text_[position_]);
      if (c == '"') {
        ++position_;
        return true;
      }
      if (c < 0x20) return Fail("a control character in a string");
      if (c == '\\') {
        if (!Escape(out)) return false;
        continue;
      }
      const size_t length = Utf8SequenceLength(text_.substr(position_));
      if (length == 0) return Fail("a string is not UTF-8");
      out->append(text_.substr(position_, length));
      position_ += length;
    }
    return Fail("a string does not end");
  }

  bool Escape(std::string* out) {
    ++position_;
    if (position_ == text_.size()) return Fail("a string does not end");
    const char c = text_[position_++];
    switch (c) {
      case '"': case '\\': case '/': out->push_back(c); return true;
      case 'b': out->push_back('\b'); return true;
      case 'f': out->push_back('\f'); return true;
      case 'n': out->push_back('\n'); return true;
      case 'r': out->push_back('\r'); return true;
      case 't': out->push_back('\t'); return true;
      case 'u': return UnicodeEscape(out);
      default: return Fail("unknown escape");
    }
  }

  bool UnicodeEscape(std::string* out) {
    uint32_t code = 0;
    if (!FourHexDigits(&code)) return false;
    if (code >= 0xDC00 && code <= 0xDFFF) return Fail("a low surrogate without a high one");
    if (code >= 0xD800 && code <= 0xDBFF) {
      uint32_t low = 0;
      if (!TakeWord("\\u") || !FourHexDigits(&low) || low < 0xDC00 || low > 0xDFFF) return Fail("a high surrogate without a low one");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, out);
    return true;
  }

  bool FourHexDigits(uint32_t* code) {
    const std::string_view digits = text_.substr(position_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) return Fail("four hex digits are expected");
    position_ += 4;
    return true;
  }

  size_t Digits() {
    const size_t start = position_;
    while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') ++position_;
    return position_ - start;
  }

  bool Number(JsonValue* out) {
    const size_t start = position_;
    Take('-');
    if (!Take('0') && Digits() == 0) return Fail("a value is expected");
    bool whole = true;
    if (Take('.')) {
      whole = false;
      if (Digits() == 0) return Fail("digits are expected");
    }
    if (Take('e') || Take('E')) {
      whole = false;
      if (!Take('+')) Take('-');
      if (Digits() == 0) return Fail("digits are expected");
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + position_;
    int64_t integer = 0;
    if (whole && std::from_chars(first, last, integer).ec == std::errc()) {
      *out = JsonValue(integer);
      return true;
    }
    double number = 0;
    if (std::from_chars(first, last, number).ec != std::errc()) return Fail("a number does not fit a double");
    *out = JsonValue(number);
    return true;
  }

  std::string_view text_;
  size_t position_ = 0;
  size_t values_ = 0;
  Status error_;
};

}  // namespace

std::optional<double> JsonValue::number() const {
  if (const int64_t* i = integer()) return static_cast<double>(*i);
  if (const double* d = std::get_if<double>(&value_)) return *d;
  return std::nullopt;
}

const JsonValue* JsonValue::Find(std::string_view key) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  const auto it = std::lower_bound(members->begin(), members->end(), key, [](const auto& m, std::string_view k) { return m.first < k; });
  return it != members->end() && it->first == key ? &it->second : nullptr;
}

const JsonValue* JsonValue::FindNonNull(std::string_view key) const {
  const JsonValue* value = Find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

Result<JsonValue> ParseJson(std::string_view text) {
  if (text.size() > kMaxJsonBytes) return Unsupported("JSON: more than 32 MB");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return Parser(text).Document();
}

}  // namespace longshore
