#include "engine/kv/sha256.h"

#include <string_view>
#include <vector>

#include "test/check.h"

namespace longshore {
namespace {

std::span<const uint8_t> Bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// FIPS 180-4 examples (NIST's SHA256.pdf).
TEST(sha256_equals_the_standards_examples) {
  CHECK_EQ(Hex(Sha256Of(Bytes(""))), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(Hex(Sha256Of(Bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(Hex(Sha256Of(Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(Hex(Sha256Of(std::vector<uint8_t>(1000000, 'a'))), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// RFC 4231, test cases 1, 2 and 6 (key longer than a chunk).
TEST(hmac_equals_the_rfc_examples) {
  CHECK_EQ(Hex(HmacSha256(std::vector<uint8_t>(20, 0x0b), Bytes("Hi There"))),
           "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK_EQ(Hex(HmacSha256(Bytes("Jefe"), Bytes("what do ya want for nothing?"))),
           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK_EQ(Hex(HmacSha256(std::vector<uint8_t>(131, 0xaa), Bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
           "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(any_split_of_the_input_gives_the_same_digest) {
  std::vector<uint8_t> data(300);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<uint8_t>(i * 7 + 1);
  for (size_t size = 0; size <= data.size(); size += 13) {
    const auto all = std::span(data).first(size);
    const Digest whole = Sha256Of(all);
    for (size_t cut = 0; cut <= size; cut += 9) {
      Sha256 hash;
      hash.Update(all.first(cut));
      hash.Update(all.subspan(cut));
      CHECK(hash.Finish() == whole);
    }
  }
}

TEST(instructions_equal_the_portable_twin) {
  if (!internal::Sha256HasInstructions()) {
    std::printf("     this CPU has no SHA instructions: the portable code is what runs\n");
    return;
  }
  std::vector<uint8_t> data(64 * 17);
  uint32_t x = 1;
  for (auto& byte : data) byte = static_cast<uint8_t>((x = x * 1664525 + 1013904223) >> 24);
  uint32_t a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  internal::Sha256ChunksPortable(a, data.data(), 17);
  internal::Sha256ChunksInstructions(b, data.data(), 17);
  for (int i = 0; i < 8; i++) CHECK_EQ(a[i], b[i]);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
