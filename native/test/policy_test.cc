// Policy files: what they say, how they are refused, and MInference's published patterns as they are.
#include <map>

#include "engine/policy/attention_policy.h"
#include "engine/policy/built_in.h"
#include "test/check.h"
#include "test/golden_files.h"

namespace longshore {
namespace {

using namespace test;

std::string Wrap(const std::string& members) { return R"({"format":"longshore-attention-policy","version":1,)" + members + "}"; }

TEST(a_policy_gives_each_head_its_layer_s_or_its_own) {
  const auto policy = ParsePolicy(Wrap(R"("min_tokens":300,"default":{"type":"block_energy","alpha":0.02,"sink":256,"window":512,"tau":0.2},
    "layers":[{"layer":1,"default":{"type":"dense"},"heads":{"2":{"type":"vertical_slash","vertical":100,"slash":800,"shared":true}}}])"), 2, 4);
  CHECK_OK(policy.status());
  REQUIRE(policy.ok());
  const AttentionPolicy& p = policy.value();
  CHECK_EQ(p.min_tokens, 300u);
  CHECK(p.at(0, 3).type == HeadPolicyType::kBlockEnergy && p.at(0, 3).tau == 0.2f && !p.at(0, 3).mean_correction);
  CHECK(p.at(1, 1).type == HeadPolicyType::kDense);
  CHECK(p.at(1, 2).type == HeadPolicyType::kVerticalSlash && p.at(1, 2).slash == 800 && p.at(1, 2).shared);
  CHECK_EQ(p.CanonicalJson(),
           std::string(R"({"heads":[[0,0,0,0],[1,1,2,1]],"min_tokens":300,"policies":[{"alpha":"0.0199999996","mean_correction":false,"shared":false,)"
                       R"("sink":256,"tau":"0.200000003","type":"block_energy","window":512},{"type":"dense"},)"
                       R"({"shared":true,"slash":800,"type":"vertical_slash","vertical":100}],"prefill":"sparse"})"));
}

TEST(policies_of_dense_heads_are_the_dense_policy) {
  for (const std::string& text : {Wrap(R"("min_tokens":5,"default":{"type":"dense"})"), std::string(BuiltInPolicy("dense"))}) {
    const auto policy = ParsePolicy(text, 3, 2);
    REQUIRE(policy.ok());
    CHECK(policy.value().dense());
    CHECK_EQ(policy.value().CanonicalJson(), std::string(R"({"prefill":"dense"})"));
  }
  const auto built_in = LoadPolicy("block_energy", 3, 2);
  CHECK(built_in.ok() && !built_in.value().dense());
}

TEST(the_default_is_what_was_measured_for_the_model_and_dense_for_others) {
  Hyperparameters needle;
  needle.layers = 4, needle.hidden = 256, needle.heads = 8, needle.kv_heads = 4, needle.head_dim = 64, needle.vocab = 320;
  REQUIRE(!MeasuredPolicy(needle).empty());
  const auto measured = LoadPolicy("default", needle);
  REQUIRE(measured.ok());
  CHECK(!measured.value().dense());
  needle.hidden = 512;
  CHECK(MeasuredPolicy(needle).empty());
  const auto other = LoadPolicy("default", needle);
  CHECK(other.ok() && other.value().dense());
}

TEST(a_policy_measured_on_another_shape_is_refused) {
  const std::string text = Wrap(R"("shape":{"layers":4,"heads":8},"default":{"type":"a_shape","sink":0,"window":128})");
  CHECK(ParsePolicy(text, 4, 8).ok());
  CHECK_EQ(ParsePolicy(text, 4, 9).status().code(), Code::kInvalidArgument);
  CHECK_EQ(LoadPolicy(text, 3, 8).status().code(), Code::kInvalidArgument);
}

TEST(faults_name_the_member_and_the_remedy) {
  struct Fault { std::string text; Code code; const char* says; };
  const std::string energy = R"({"type":"block_energy","alpha":0.02,"sink":0,"window":128})";
  for (const Fault& f : {
           Fault{"{", Code::kCorrupt, ""},
           Fault{R"({"format":"other","version":1})", Code::kUnsupported, "format"},
           Fault{R"({"format":"longshore-attention-policy","version":2})", Code::kUnsupported, "version"},
           Fault{Wrap(R"("min_tokens":1)"), Code::kCorrupt, "default"},
           Fault{Wrap(R"("default":{"type":"best"})"), Code::kUnsupported, "default.type 'best'"},
           Fault{Wrap(R"("default":{"type":"dense","alpha":1})"), Code::kUnsupported, "alpha"},
           Fault{Wrap(R"("default":{"type":"a_shape","sink":1})"), Code::kCorrupt, "default.window"},
           Fault{Wrap(R"("default":{"type":"block_energy","alpha":2,"sink":0,"window":1})"), Code::kCorrupt, "default.alpha"},
           Fault{Wrap(R"("default":{"type":"block_sparse","top_k":0})"), Code::kCorrupt, "top_k"},
           Fault{Wrap(R"("extra":1,"default":)" + energy), Code::kUnsupported, "extra"},
           Fault{Wrap(R"("default":)" + energy + R"(,"layers":[{"layer":2}])"), Code::kInvalidArgument, "layers[0].layer"},
           Fault{Wrap(R"("default":)" + energy + R"(,"layers":[{"layer":1,"heads":{"9":{"type":"dense"}}}])"), Code::kInvalidArgument, "heads 0 to 3"},
           Fault{Wrap(R"("min_tokens":-1,"default":)" + energy), Code::kCorrupt, "min_tokens"},
           Fault{R"([{"0":["vertical_and_slash",1,1,0.5]}])", Code::kInvalidArgument, "1 layers"},
           Fault{R"([{"0":["x",1,1,0],"1":["x",1,1,0],"2":["x",1,1,0],"3":["x",1,1,0]},{}])", Code::kUnsupported, "'x'"},
       }) {
    const auto policy = ParsePolicy(f.text, 2, 4);
    CHECK(!policy.ok());
    CHECK_EQ(policy.status().code(), f.code);
    if (policy.status().message().find(f.says) == std::string::npos) Fail(__FILE__, __LINE__, f.text + " is refused with: " + policy.status().message());
  }
  CHECK_EQ(LoadPolicy("/no/such/policy", 2, 4).status().code(), Code::kNotFound);
}

TEST(published_patterns_load_as_they_are) {
  struct Published { const char* file; uint32_t layers, heads, a_shapes, wide; };
  // Counted in the files: stream_llm heads, and heads of (1000, 6096).
  for (const Published& f : {Published{"minference-llama-3.1-8b.json", 32, 32, 0, 279}, {"minference-phi-3-mini.json", 32, 32, 43, 277},
                             {"minference-qwen2.5-7b-1m.json", 28, 28, 0, 321}, {"minference-llama-3-8b-262k.json", 32, 32, 0, 473}}) {
    const auto policy = LoadPolicy(GoldenPath(std::string("policies/") + f.file), f.layers, f.heads);
    CHECK_OK(policy.status());
    if (!policy.ok()) continue;
    uint32_t a_shapes = 0, wide = 0;
    for (const HeadPolicy& p : policy.value().table) {
      a_shapes += p.type == HeadPolicyType::kAShape && p.sink == 100 && p.window == 800;
      wide += p.type == HeadPolicyType::kVerticalSlash && p.vertical == 1000 && p.slash == 6096;
    }
    CHECK_EQ(a_shapes, f.a_shapes);
    CHECK_EQ(wide, f.wide);
    CHECK_EQ(LoadPolicy(GoldenPath(std::string("policies/") + f.file), f.layers, f.heads + 1).status().code(), Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
