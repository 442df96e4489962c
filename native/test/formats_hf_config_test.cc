#include <cmath>

#include "engine/formats/config_json.h"
#include "engine/formats/hf_model.h"
#include "test/check.h"

using namespace longshore;

namespace {

constexpr const char* kBase = R"("num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4,"intermediate_size":80,"vocab_size":160,"max_position_embeddings":512)";

// `members` are appended to a complete configuration of `type`.
Status Read(const std::string& type, const std::string& members, ModelContents* model, const char* generation = "") {
  return ReadHfConfig("{\"model_type\":\"" + type + "\"," + kBase + (members.empty() ? "" : "," + members) + "}", generation, model);
}

Code CodeOf(const std::string& members) {
  ModelContents model;
  return Read("llama", members, &model).code();
}

}  // namespace

TEST(reads_both_spellings_of_rope_parameters) {
  for (const char* rope : {R"("rope_theta":500000.0,"rope_scaling":{"type":"linear","factor":4})", R"("rope_parameters":{"rope_type":"linear","rope_theta":500000,"factor":4.0})"}) {
    ModelContents model;
    CHECK_OK(Read("llama", rope, &model));
    CHECK_EQ(model.hyperparameters.rope_theta, 500000.0);
    CHECK(model.hyperparameters.rope_scaling.kind == RopeScalingKind::kLinear);
    CHECK_EQ(model.hyperparameters.rope_scaling.factor, 4.0);
  }
}

TEST(reads_llama3_scaling) {
  ModelContents model;
  CHECK_OK(Read("llama", R"("rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192})", &model));
  const RopeScaling& s = model.hyperparameters.rope_scaling;
  CHECK(s.kind == RopeScalingKind::kLlama3);
  CHECK_EQ(s.factor, 32.0);
  CHECK_EQ(s.original_context, 8192u);
  CHECK(CodeOf(R"("rope_scaling":{"rope_type":"llama3","factor":32.0})") == Code::kCorrupt);
}

TEST(resolves_yarns_attention_factor_as_transformers_does) {
  ModelContents plain, given, both, no_factor;
  CHECK_OK(Read("qwen2", R"("rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":128})", &plain));
  CHECK_NEAR(plain.hyperparameters.rope_scaling.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  CHECK_OK(Read("qwen2", R"("rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":0.7,"beta_fast":16,"truncate":false})", &given));
  CHECK_EQ(given.hyperparameters.rope_scaling.attention_factor, 0.7);
  CHECK_EQ(given.hyperparameters.rope_scaling.beta_fast, 16.0);
  CHECK_EQ(given.hyperparameters.rope_scaling.original_context, 512u);
  CHECK(!given.hyperparameters.rope_scaling.truncate);
  CHECK_OK(Read("qwen2", R"("rope_scaling":{"type":"yarn","factor":4.0,"mscale":1.0,"mscale_all_dim":0.5})", &both));
  CHECK_NEAR(both.hyperparameters.rope_scaling.attention_factor, (0.1 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1), 1e-12);
  CHECK_OK(Read("qwen2", R"("rope_scaling":{"type":"yarn","original_max_position_embeddings":128})", &no_factor));
  CHECK_EQ(no_factor.hyperparameters.rope_scaling.factor, 4.0);
}

TEST(head_dim_is_explicit_or_derived_or_the_familys_default) {
  ModelContents derived, explicit_dim, null_dim, qwen3;
  CHECK_OK(Read("llama", "", &derived));
  CHECK_EQ(derived.hyperparameters.head_dim, 16u);
  CHECK_EQ(derived.hyperparameters.kv_heads, 4u);
  CHECK_OK(Read("llama", "\"head_dim\":32", &explicit_dim));
  CHECK_EQ(explicit_dim.hyperparameters.head_dim, 32u);
  CHECK_OK(Read("llama", "\"head_dim\":null", &null_dim));
  CHECK_EQ(null_dim.hyperparameters.head_dim, 16u);
  CHECK_OK(Read("qwen3", "", &qwen3));
  CHECK_EQ(qwen3.hyperparameters.head_dim, 128u);
}

TEST(end_tokens_come_from_the_generation_config_first) {
  ModelContents one, list, fallback;
  CHECK_OK(Read("llama", "\"eos_token_id\":2", &one, R"({"eos_token_id":7})"));
  CHECK(one.hyperparameters.eos_ids == std::vector<uint32_t>{7});
  CHECK_OK(Read("llama", "\"eos_token_id\":2", &list, R"({"eos_token_id":[7,9]})"));
  CHECK((list.hyperparameters.eos_ids == std::vector<uint32_t>{7, 9}));
  CHECK_OK(Read("llama", "\"eos_token_id\":[2],\"bos_token_id\":1", &fallback, R"({"do_sample":true})"));
  CHECK(fallback.hyperparameters.eos_ids == std::vector<uint32_t>{2});
  CHECK_EQ(fallback.hyperparameters.bos_id, 1);
  ModelContents bad;
  CHECK(Read("llama", "\"eos_token_id\":\"</s>\"", &bad).code() == Code::kCorrupt);
}

TEST(sliding_windows_count_only_where_the_family_uses_them) {
  ModelContents mistral, qwen_off, qwen_on, llama;
  CHECK_OK(Read("mistral", "\"sliding_window\":4096", &mistral));
  CHECK_EQ(mistral.hyperparameters.sliding_window, 4096u);
  CHECK_EQ(mistral.family, std::string("llama"));
  CHECK_OK(Read("qwen2", "\"sliding_window\":4096,\"use_sliding_window\":false", &qwen_off));
  CHECK_EQ(qwen_off.hyperparameters.sliding_window, 0u);
  CHECK_OK(Read("qwen2", "\"sliding_window\":4096,\"use_sliding_window\":true", &qwen_on));
  CHECK_EQ(qwen_on.hyperparameters.sliding_window, 4096u);
  CHECK_OK(Read("llama", "", &llama));
  CHECK_EQ(llama.hyperparameters.sliding_window, 0u);
}

TEST(gemma3_reads_windows_bases_and_scales_in_both_spellings) {
  ModelContents old, fresh, odd;
  CHECK_OK(Read("gemma3_text", R"("rope_local_base_freq":20000,"rope_theta":500000,"sliding_window":512,"sliding_window_pattern":2,"query_pre_attn_scalar":64,"hidden_activation":"gelu_pytorch_tanh","head_dim":16)", &old));
  CHECK_OK(Read("gemma3_text", R"("rope_parameters":{"full_attention":{"rope_type":"linear","factor":8,"rope_theta":500000},"sliding_attention":{"rope_type":"default","rope_theta":20000}},"sliding_window":512,)"
                               R"("layer_types":["sliding_attention","full_attention"],"query_pre_attn_scalar":16,"head_dim":16)", &fresh));
  for (const ModelContents* m : {&old, &fresh}) {
    const Hyperparameters& h = m->hyperparameters;
    CHECK_EQ(m->family, std::string("gemma3"));
    CHECK_EQ(h.rope_theta, 500000.0);
    CHECK_EQ(h.local_rope_theta, 20000.0);
    CHECK_EQ(h.sliding_window, 512u);
    CHECK(h.SlidesAt(0) && !h.SlidesAt(1));
    CHECK_EQ(h.norm_offset, 1.f);
    CHECK(h.tied_embeddings);
  }
  CHECK_EQ(old.hyperparameters.query_scale, 1 / 8.0);
  CHECK_EQ(fresh.hyperparameters.query_scale, 0.0);
  CHECK(fresh.hyperparameters.rope_scaling.kind == RopeScalingKind::kLinear);
  CHECK(ConfigJson(old.family, old.hyperparameters) != ConfigJson(fresh.family, fresh.hyperparameters));
  for (const char* refused : {R"("attn_logit_softcapping":50.0)", R"("use_bidirectional_attention":true)", R"("hidden_activation":"relu")", R"("layer_types":["full_attention","sliding_attention"])"})
    CHECK(Read("gemma3_text", refused, &odd).code() == Code::kUnsupported);
  CHECK(Read("gemma3_text", R"("layer_types":["full_attention"])", &odd).code() == Code::kCorrupt);
  CHECK(Read("gemma3_text", R"("sliding_window":0)", &odd).code() == Code::kCorrupt);
}

TEST(refuses_what_it_cannot_compute) {
  CHECK(CodeOf("\"hidden_act\":\"gelu\"") == Code::kUnsupported);
  CHECK(CodeOf("\"quantization_config\":{\"bits\":4}") == Code::kUnsupported);
  CHECK(CodeOf(R"("rope_scaling":{"type":"dynamic","factor":2.0})") == Code::kUnsupported);
  CHECK(CodeOf("\"rope_scaling\":7") == Code::kCorrupt);
  CHECK(CodeOf("\"head_dim\":-1") == Code::kCorrupt);
  CHECK(CodeOf("\"head_dim\":1.5") == Code::kCorrupt);
  CHECK(CodeOf("\"num_key_value_heads\":\"four\"") == Code::kCorrupt);
  ModelContents model;
  CHECK(ReadHfConfig(R"({"model_type":"gpt2"})", "", &model).code() == Code::kUnsupported);
  CHECK(ReadHfConfig(R"({"model_type":"llama"})", "", &model).code() == Code::kCorrupt);
  CHECK(ReadHfConfig("[]", "", &model).code() == Code::kCorrupt);
}

TEST(hf_tensor_names_map_to_canonical_ones) {
  CHECK_EQ(CanonicalTensorName("model.layers.12.self_attn.q_proj.weight"), std::string("blk.12.attn_q.weight"));
  CHECK_EQ(CanonicalTensorName("layers.0.self_attn.k_proj.bias"), std::string("blk.0.attn_k.bias"));
  CHECK_EQ(CanonicalTensorName("model.layers.3.self_attn.q_norm.weight"), std::string("blk.3.attn_q_norm.weight"));
  CHECK_EQ(CanonicalTensorName("model.layers.3.mlp.down_proj.weight"), std::string("blk.3.ffn_down.weight"));
  CHECK_EQ(CanonicalTensorName("model.embed_tokens.weight"), std::string("token_embd.weight"));
  CHECK_EQ(CanonicalTensorName("lm_head.weight"), std::string("output.weight"));
  CHECK_EQ(CanonicalTensorName("model.layers.3.mlp.experts.weight"), std::string("model.layers.3.mlp.experts.weight"));
  CHECK_EQ(CanonicalTensorName("model.layers."), std::string("model.layers."));
  CHECK_EQ(CanonicalTensorName("model.layers.3.post_attention_layernorm.weight"), std::string("blk.3.ffn_norm.weight"));
  CHECK_EQ(CanonicalTensorName("model.layers.3.post_attention_layernorm.weight", true), std::string("blk.3.post_attention_norm.weight"));
  CHECK_EQ(CanonicalTensorName("model.layers.3.pre_feedforward_layernorm.weight", true), std::string("blk.3.ffn_norm.weight"));
}

TEST(shard_indexes_name_plain_files_only) {
  Result<std::vector<std::string>> names = ReadShardIndex(R"({"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-1.safetensors"}})");
  REQUIRE(names.ok());
  CHECK((names.value() == std::vector<std::string>{"m-1.safetensors", "m-2.safetensors"}));
  for (const char* file : {"../x.safetensors", "/etc/passwd", "sub/x.safetensors", ".x.safetensors", "x.bin", ""}) {
    CHECK(ReadShardIndex(std::string("{\"weight_map\":{\"a\":\"") + file + "\"}}").status().code() == Code::kCorrupt);
  }
  CHECK(ReadShardIndex("{}").status().code() == Code::kCorrupt);
  CHECK(ReadShardIndex(R"({"weight_map":{}})").status().code() == Code::kCorrupt);
}

TEST(config_json_is_canonical_and_tells_computations_apart) {
  ModelContents a, b;
  CHECK_OK(Read("llama", R"("rope_theta":1e6,"rms_norm_eps":1e-5)", &a));
  CHECK_OK(Read("llama", R"("rope_parameters":{"rope_theta":1000000},"rms_norm_eps":0.00001)", &b));
  CHECK_EQ(ConfigJson(a.family, a.hyperparameters), ConfigJson(b.family, b.hyperparameters));
  CHECK_EQ(ConfigJson(a.family, a.hyperparameters),
           std::string(R"({"attention_output_bias":false,"family":"llama","head_dim":16,"heads":4,"hidden":64,"intermediate":80,"kv_heads":4,"layers":2,"mlp_bias":false,)"
                       R"("qk_norm":false,"qkv_bias":false,"rms_eps":"1e-05","rope":{"dims":16,"layout":"half_split","scaling":"none","theta":"1e+06"},)"
                       R"("sliding_window":0,"tied_embeddings":false,"vocab":160})"));
  b.hyperparameters.rope_scaling.kind = RopeScalingKind::kLinear;
  b.hyperparameters.rope_scaling.factor = 2;
  CHECK(ConfigJson(a.family, a.hyperparameters) != ConfigJson(b.family, b.hyperparameters));
}

TEST_MAIN
