#include "engine/formats/json.h"
#include "test/check.h"

using namespace longshore;

namespace {

Code CodeOf(std::string_view text) { return ParseJson(text).status().code(); }

}  // namespace

TEST(reads_every_kind_of_value) {
  Result<JsonValue> r = ParseJson(R"( {"b":true,"a":[1,-2.5,1e3,null,"x"],"c":{"d":false}} )");
  REQUIRE(r.ok());
  const JsonValue& v = r.value();
  CHECK(*v.Find("b")->boolean());
  REQUIRE(v.Find("a") != nullptr && v.Find("a")->array() != nullptr && v.Find("a")->array()->size() == 5);
  const JsonValue::Array& a = *v.Find("a")->array();
  CHECK_EQ(*a[0].integer(), int64_t{1});
  CHECK_EQ(*a[1].number(), -2.5);
  CHECK_EQ(*a[2].number(), 1000.0);
  CHECK(a[2].integer() == nullptr);
  CHECK(a[3].is_null());
  CHECK_EQ(*a[4].string(), std::string("x"));
  CHECK(!*v.Find("c")->Find("d")->boolean());
  CHECK(v.Find("missing") == nullptr);
  CHECK(a[0].Find("x") == nullptr);
}

TEST(decodes_escapes_to_utf8) {
  Result<JsonValue> r = ParseJson(R"("\u0041\n\"\\\/\u00e9\u20ac\ud83d\ude00")");
  REQUIRE(r.ok());
  CHECK_EQ(*r.value().string(), std::string("A\n\"\\/\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
}

TEST(keeps_integers_exact_up_to_64_bits) {
  CHECK_EQ(*ParseJson("9223372036854775807").value().integer(), INT64_MAX);
  CHECK_EQ(*ParseJson("-9223372036854775808").value().integer(), INT64_MIN);
  Result<JsonValue> larger = ParseJson("9223372036854775808");
  REQUIRE(larger.ok());
  CHECK(larger.value().integer() == nullptr);
  CHECK_EQ(*larger.value().number(), 9223372036854775808.0);
}

TEST(null_members_can_count_as_absent) {
  Result<JsonValue> r = ParseJson(R"({"head_dim":null,"n":3})");
  REQUIRE(r.ok());
  CHECK(r.value().Find("head_dim") != nullptr);
  CHECK(r.value().FindNonNull("head_dim") == nullptr);
  CHECK(r.value().FindNonNull("n") != nullptr);
}

TEST(refuses_what_is_not_json) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", ".5", "+1", "1e", "- 1", "nul", "truex", "\"", "\"\\x\"", "\"\\u12g4\"", "\"\t\"", "[1 2]",
                           "{\"a\" 1}", "1 2", "NaN", "Infinity", "1e999", "'a'", "[", "\"\\", "\"\\u12", "{\"a\":1,\"a\":2}"}) {
    if (CodeOf(text) != Code::kCorrupt) test::Fail(__FILE__, __LINE__, std::string("accepted: ") + text);
  }
}

TEST(refuses_ill_formed_unicode) {
  for (const char* text : {"\"\x80\"", "\"\xC0\xAF\"", "\"\xE0\x80\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xE2\x82\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\""}) {
    CHECK(CodeOf(text) == Code::kCorrupt);
  }
}

TEST(bounds_depth_and_number_of_values) {
  CHECK_OK(ParseJson(std::string(64, '[') + std::string(64, ']')));
  CHECK(CodeOf(std::string(100000, '[')) == Code::kUnsupported);
  std::string many = "[0";
  for (size_t i = 0; i < kMaxJsonValues; ++i) many += ",0";
  CHECK(CodeOf(many + "]") == Code::kUnsupported);
}

TEST(names_the_byte_of_the_first_fault) {
  CHECK(ParseJson("[1, 2, x]").status().message().find("byte 7") != std::string::npos);
}

TEST_MAIN
