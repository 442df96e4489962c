// The whole test framework: TEST(name) { CHECK(...); } ... and TEST_MAIN at the end of the file.
// A failed check prints its place and values and the test goes on; the process exits 1. An argument runs only the tests
// whose names contain it.
#pragma once

#include <cmath>
#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace longshore::test {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

inline bool Register(const char* name, void (*body)()) {
  Cases().push_back({name, body});
  return true;
}

inline void Fail(const char* file, int line, const std::string& message) {
  Failures()++;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, message.c_str());
}

template <typename T>
std::string Show(const T& value) {
  std::ostringstream out;
  out.precision(9);
  if constexpr (requires { out << value; }) out << value;
  else if constexpr (std::is_enum_v<T>) out << static_cast<long long>(value);
  else out << "<" << sizeof(T) << " bytes>";
  return out.str();
}

inline int Run(int argc, char** argv) {
  const std::string_view filter = argc > 1 ? argv[1] : "";
  int ran = 0;
  for (const Case& c : Cases()) {
    if (std::string_view(c.name).find(filter) == std::string_view::npos) continue;
    const int before = Failures();
    c.body();
    std::printf("%s %s\n", Failures() == before ? "ok  " : "FAIL", c.name);
    std::fflush(stdout);
    ran++;
  }
  if (ran == 0) {
    std::fprintf(stderr, "no test ran\n");
    return 1;
  }
  return Failures() == 0 ? 0 : 1;
}

}  // namespace longshore::test

#define TEST(name)                                                                                   \
  static void test_##name();                                                                         \
  [[maybe_unused]] static const bool registered_##name = longshore::test::Register(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                                                          \
  do {                                                                                            \
    if (!(condition)) longshore::test::Fail(__FILE__, __LINE__, "CHECK(" #condition ") is false"); \
  } while (0)

// Ends the test function: for conditions without which the rest makes no sense.
#define REQUIRE(condition)                                                            \
  do {                                                                                \
    if (!(condition)) {                                                               \
      longshore::test::Fail(__FILE__, __LINE__, "REQUIRE(" #condition ") is false");  \
      return;                                                                         \
    }                                                                                 \
  } while (0)

#define CHECK_EQ(a, b)                                                                                 \
  do {                                                                                                 \
    const auto check_a = (a);                                                                          \
    const auto check_b = (b);                                                                          \
    if (!(check_a == check_b))                                                                         \
      longshore::test::Fail(__FILE__, __LINE__, "CHECK_EQ(" #a ", " #b "): " + longshore::test::Show(check_a) + \
                                                    " != " + longshore::test::Show(check_b));          \
  } while (0)

#define CHECK_NEAR(a, b, tolerance)                                                                    \
  do {                                                                                                 \
    const double check_a = static_cast<double>(a);                                                     \
    const double check_b = static_cast<double>(b);                                                     \
    if (!(std::fabs(check_a - check_b) <= (tolerance)))                                                \
      longshore::test::Fail(__FILE__, __LINE__, "CHECK_NEAR(" #a ", " #b "): " + longshore::test::Show(check_a) + \
                                                    " vs " + longshore::test::Show(check_b));          \
  } while (0)

// For Status and Result<T>: prints the message of an unexpected error.
#define CHECK_OK(expression)                                                                           \
  do {                                                                                                 \
    const auto check_s = longshore::test::StatusOf(expression);                                       \
    if (!check_s.ok()) longshore::test::Fail(__FILE__, __LINE__, #expression ": " + check_s.message()); \
  } while (0)

namespace longshore::test {
template <typename T>
auto StatusOf(const T& value) {
  if constexpr (requires { value.status(); }) return value.status();
  else return value;
}
}  // namespace longshore::test

#define TEST_MAIN \
  int main(int argc, char** argv) { return longshore::test::Run(argc, argv); }
