// The golden objects were written by TypeScript from the format's document: test/golden/make_kv_object.ts.
#include "engine/kv/object.h"

#include <random>

#include "engine/formats/json.h"
#include "engine/kv/crc32.h"
#include "test/check.h"
#include "test/golden_files.h"

namespace longshore {
namespace {

std::vector<uint8_t> Unhex(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) bytes.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

const JsonValue& Expected() {
  static const JsonValue value = [] {
    const auto bytes = test::ReadFileBytes(test::GoldenPath("kv-object/expected.json"));
    auto parsed = ParseJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    CHECK_OK(parsed);
    return parsed.ok() ? std::move(parsed.value()) : JsonValue();
  }();
  return value;
}

const std::string& Text(const JsonValue& object, const char* key) { return *object.Find(key)->string(); }
int64_t Number(const JsonValue& object, const char* key) { return *object.Find(key)->integer(); }
std::vector<uint8_t> Golden(const JsonValue& object) { return test::ReadFileBytes(test::GoldenPath("kv-object/" + Text(object, "file"))); }

std::vector<uint32_t> GoldenTokens() {
  std::vector<uint32_t> tokens;
  for (const JsonValue& token : *Expected().Find("identity")->Find("tokens")->array()) tokens.push_back(static_cast<uint32_t>(*token.integer()));
  return tokens;
}

TEST(identity_equals_typescripts) {
  REQUIRE(Expected().Find("identity"));
  const JsonValue& identity = *Expected().Find("identity");
  const Digest name_space = NamespaceOf(Text(identity, "canonical_json"));
  CHECK_EQ(Hex(name_space), Text(identity, "namespace"));
  const Digest root = ChainRoot(Unhex(Text(identity, "tenant_secret")), name_space);
  CHECK_EQ(Hex(root), Text(identity, "h0"));
  const auto hashes = ChainHashes(root, GoldenTokens());
  const auto& expected = *identity.Find("block_hashes")->array();
  REQUIRE(hashes.size() == expected.size() + 1);
  for (size_t i = 0; i < expected.size(); i++) CHECK_EQ(Hex(hashes[i]), *expected[i].string());
  CHECK_EQ(Hex(hashes.back()), Text(identity, "tail_hash"));
}

TEST(reads_every_golden_object_as_it_was_written) {
  REQUIRE(Expected().Find("objects"));
  const auto tokens = GoldenTokens();
  for (const JsonValue& object : *Expected().Find("objects")->array()) {
    const auto bytes = Golden(object);
    const auto parsed = ParseKvObject(bytes);
    CHECK_OK(parsed);
    if (!parsed.ok()) continue;
    const KvObjectHeader& h = parsed.value().header;
    CHECK_EQ(h.sealed, *object.Find("sealed")->boolean());
    CHECK_EQ(h.partial(), *object.Find("partial")->boolean());
    CHECK_EQ(Hex(h.name_space), Text(object, "namespace"));
    CHECK_EQ(Hex(h.parent_hash), Text(object, "parent_hash"));
    CHECK_EQ(h.first_token, Number(object, "first_token"));
    CHECK_EQ(h.tokens, Number(object, "token_count"));
    CHECK_EQ(h.shape.kv_heads, Number(object, "kv_heads"));
    CHECK_EQ(h.shape.head_dim, Number(object, "head_dim"));
    CHECK_EQ(h.shape.dtype == KvDtype::kF32 ? "f32" : "bf16", Text(object, "kv_dtype"));
    CHECK(h.codec == KvCodecNamed(Text(object, "codec")));
    CHECK_EQ(Hex(h.key_id), Text(object, "key_id"));
    CHECK_EQ(Hex(h.nonce_base), Text(object, "nonce_base"));
    CHECK_EQ(h.layers, Number(Expected(), "layer_count"));
    CHECK_OK(VerifyKvChain(h, std::span(tokens).subspan(h.first_token, h.tokens)));
    if (h.sealed) continue;
    for (size_t layer = 0; layer < parsed.value().sections.size(); layer++) {
      const auto section = parsed.value().sections[layer];
      CHECK_EQ(Hex(Sha256Of(section)), *(*object.Find("section_sha256")->array())[layer].string());
      const auto raw = DecodeKvSection(h, section);
      CHECK_OK(raw);
      if (raw.ok()) CHECK_EQ(Hex(Sha256Of(raw.value())), *(*object.Find("decoded_sha256")->array())[layer].string());
    }
  }
}

// Sealed objects too: what is sealed is the section of the same name without a seal. An encoder of a variable-size codec may choose
// other codes than the golden files' writer, so only what comes back is compared.
TEST(encodes_every_golden_block_to_the_same_bytes) {
  REQUIRE(Expected().Find("objects"));
  for (const JsonValue& object : *Expected().Find("objects")->array()) {
    const auto parsed = ParseKvObject(Golden(object));
    CHECK_OK(parsed);
    if (!parsed.ok()) continue;
    const KvObjectHeader& h = parsed.value().header;
    const auto raw = Unhex(Text(object, "raw_layer0"));
    std::vector<uint8_t> section(h.most_section_bytes()), scratch(CodecScratchBytes(h.codec, h.shape));
    size_t from = 0, to = 0;
    for (size_t i = 0; i < h.block_hashes.size(); i++) {
      const uint32_t tokens = h.block_tokens(i);
      const KvCodec codec = BlockCodec(h.codec, h.first_token, i);
      const size_t most = MostBlockBytes(codec, h.shape, tokens);
      to += EncodeBlock(codec, h.shape, tokens, std::span(raw).subspan(from, h.shape.RawBytes(tokens)), std::span(section).subspan(to, most), scratch,
                        *SelectCodecKernels("auto"));
      from += h.shape.RawBytes(tokens);
    }
    section.resize(to);
    if (HasFixedSize(h.codec)) {
      CHECK_EQ(Hex(Sha256Of(section)), *(*object.Find("section_sha256")->array())[0].string());
      continue;
    }
    const auto back = DecodeKvSection(h, section);
    CHECK_OK(back);
    if (back.ok()) CHECK_EQ(Hex(Sha256Of(back.value())), *(*object.Find("decoded_sha256")->array())[0].string());
  }
}

TEST(writes_back_the_same_object) {
  REQUIRE(Expected().Find("objects"));
  for (const JsonValue& object : *Expected().Find("objects")->array()) {
    const auto bytes = Golden(object);
    const auto parsed = ParseKvObject(bytes);
    CHECK_OK(parsed);
    if (!parsed.ok()) continue;
    std::vector<std::vector<uint8_t>> sections;
    for (const auto section : parsed.value().sections) sections.emplace_back(section.begin(), section.end());
    const auto written = WriteKvObject(parsed.value().header, sections);
    CHECK_OK(written);
    if (written.ok()) CHECK(written.value() == bytes);
  }
}

TEST(refuses_every_truncation_and_every_flipped_bit) {
  REQUIRE(Expected().Find("objects"));
  std::mt19937 random(1);
  for (const JsonValue& object : *Expected().Find("objects")->array()) {
    const auto bytes = Golden(object);
    for (size_t size = 0; size < bytes.size(); size += 1 + size / 64) CHECK(!ParseKvObject(std::span(bytes).first(size)).ok());
    auto longer = bytes;
    longer.push_back(0);
    CHECK(ParseKvObject(longer).status().code() == Code::kCorrupt);
    for (int i = 0; i < 2000; i++) {
      auto broken = bytes;
      broken[random() % broken.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
      CHECK(!ParseKvObject(broken).ok());
    }
  }
}

// A forger can compute digests: fields that contradict each other must be refused for themselves.
TEST(refuses_contradictions_under_a_correct_digest) {
  REQUIRE(Expected().Find("objects"));
  const auto bytes = Golden((*Expected().Find("objects")->array())[0]);
  struct Forgery {
    size_t at;
    uint32_t value;
    Code code;
  };
  const size_t header = 176 + 32 * 2 + 24 * 2 + 32, table = 176 + 32 * 2;
  const Forgery forgeries[] = {
      {4, 2, Code::kUnsupported},           {12, 4, Code::kCorrupt},         {12, 2, Code::kCorrupt},         {80, 1, Code::kCorrupt},
      {84, 257, Code::kCorrupt},            {84, 0, Code::kCorrupt},         {92, 64, Code::kUnsupported},    {100, 0, Code::kCorrupt},
      {100, 1025, Code::kCorrupt},          {104, 8, Code::kCorrupt},        {108, 3, Code::kUnsupported},    {112, 99, Code::kUnsupported},
      {116, 1, Code::kUnsupported},         {120, 1, Code::kCorrupt},        {148, 1, Code::kCorrupt},        {172, 1, Code::kCorrupt},
      {table, 1, Code::kCorrupt},           {table + 4, 1, Code::kCorrupt},  {table + 8, 5, Code::kCorrupt},  {table + 12, 0x7fffffff, Code::kCorrupt},
      {table + 20, 1, Code::kCorrupt},      {80, 0xffffff80, Code::kCorrupt}};
  for (const auto& [at, value, code] : forgeries) {
    auto forged = bytes;
    for (size_t i = 0; i < 4; i++) forged[at + i] = static_cast<uint8_t>(value >> (8 * i));
    const Digest digest = Sha256Of(std::span(forged).first(header - 32));
    std::copy(digest.begin(), digest.end(), forged.begin() + static_cast<ptrdiff_t>(header - 32));
    const Status status = ParseKvObject(forged).status();
    if (status.code() != code) test::Fail(__FILE__, __LINE__, "forged field at " + std::to_string(at) + ": " + status.message());
  }
  auto huge = bytes;
  for (const size_t at : {88, 96}) huge[at + 2] = 0xff;
  CHECK(ParseKvObject(huge).status().code() == Code::kCorrupt);
}

TEST(rejects_a_chain_whose_tokens_differ) {
  REQUIRE(Expected().Find("objects"));
  auto tokens = GoldenTokens();
  tokens.resize(256);
  const auto parsed = ParseKvObject(Golden((*Expected().Find("objects")->array())[0]));
  REQUIRE(parsed.ok());
  CHECK_OK(VerifyKvChain(parsed.value().header, tokens));
  tokens[200] ^= 1;
  CHECK(VerifyKvChain(parsed.value().header, tokens).code() == Code::kCorrupt);
  tokens[200] ^= 1;
  CHECK(VerifyKvChain(parsed.value().header, std::span(tokens).first(255)).code() == Code::kCorrupt);
}

// "123456789" is the check value that every catalogue of CRCs gives.
TEST(crc32_is_zlibs) {
  const std::string nine = "123456789";
  const auto bytes = std::span(reinterpret_cast<const uint8_t*>(nine.data()), nine.size());
  CHECK_EQ(Crc32(bytes), 0xcbf43926u);
  for (size_t cut = 0; cut <= 9; cut++) CHECK_EQ(Crc32(bytes.subspan(cut), Crc32(bytes.first(cut))), 0xcbf43926u);
  std::vector<uint8_t> many(1000, 0);
  uint32_t one_by_one = 0;
  for (size_t i = 0; i < many.size(); i++) {
    many[i] = static_cast<uint8_t>(i * 31);
    one_by_one = Crc32(std::span(many).subspan(i, 1), one_by_one);
  }
  CHECK_EQ(Crc32(many), one_by_one);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
