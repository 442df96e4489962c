#include "addon/openssl_cipher.h"

#include <dlfcn.h>

#include <algorithm>
#include <memory>

namespace longshore {
namespace {

// The few functions of OpenSSL 1.1 and 3 that are needed, under their documented signatures; looked up instead of linked, because
// Node exports them while its headers are in no package.
struct Api {
  void* (*context_new)();
  void (*context_free)(void*);
  int (*context_ctrl)(void* context, int type, int arg, void* pointer);
  const void* (*aes_256_gcm)();
  int (*decrypt_init)(void* context, const void* cipher, void* engine, const uint8_t* key, const uint8_t* nonce);
  int (*decrypt_update)(void* context, uint8_t* out, int* out_bytes, const uint8_t* in, int in_bytes);
  int (*decrypt_final)(void* context, uint8_t* out, int* out_bytes);
  void (*clear_error)();
};
constexpr int kSetTag = 0x11;             // EVP_CTRL_AEAD_SET_TAG
constexpr size_t kMostAtOnce = 1u << 30;  // lengths are int

template <typename Function>
bool Find(const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  return *function != nullptr;
}

bool Load(Api* api) {
  return Find("EVP_CIPHER_CTX_new", &api->context_new) && Find("EVP_CIPHER_CTX_free", &api->context_free) &&
         Find("EVP_CIPHER_CTX_ctrl", &api->context_ctrl) && Find("EVP_aes_256_gcm", &api->aes_256_gcm) &&
         Find("EVP_DecryptInit_ex", &api->decrypt_init) && Find("EVP_DecryptUpdate", &api->decrypt_update) &&
         Find("EVP_DecryptFinal_ex", &api->decrypt_final) && Find("ERR_clear_error", &api->clear_error);
}

class Cipher final : public SectionCipher {
 public:
  explicit Cipher(const Api& api) : api_(api) {}

  bool Open(std::span<const uint8_t, 32> key, const SealNonce& nonce, std::span<const uint8_t> additional, std::span<uint8_t> text,
            std::span<const uint8_t, 16> tag) const override {
    const std::unique_ptr<void, void (*)(void*)> context(api_.context_new(), api_.context_free);
    const bool opened = context && Decrypt(context.get(), key, nonce, additional, text, tag);
    if (!opened) api_.clear_error();  // nothing of this is left behind for node:crypto on this thread
    return opened;
  }

 private:
  bool Decrypt(void* context, std::span<const uint8_t, 32> key, const SealNonce& nonce, std::span<const uint8_t> additional,
               std::span<uint8_t> text, std::span<const uint8_t, 16> tag) const {
    if (api_.decrypt_init(context, api_.aes_256_gcm(), nullptr, key.data(), nonce.data()) != 1) return false;
    if (!Update(context, nullptr, additional)) return false;
    for (size_t at = 0; at < text.size(); at += kMostAtOnce) {
      const auto part = text.subspan(at, std::min(kMostAtOnce, text.size() - at));
      if (!Update(context, part.data(), part)) return false;
    }
    int rest = 0;
    uint8_t nothing[16];
    return api_.context_ctrl(context, kSetTag, static_cast<int>(tag.size()), const_cast<uint8_t*>(tag.data())) == 1 &&
           api_.decrypt_final(context, nothing, &rest) == 1;
  }
  bool Update(void* context, uint8_t* out, std::span<const uint8_t> in) const {
    int bytes = 0;
    return api_.decrypt_update(context, out, &bytes, in.data(), static_cast<int>(in.size())) == 1 && bytes == static_cast<int>(in.size());
  }

  Api api_;
};

}  // namespace

const SectionCipher* OpenSslCipher() {
  static const SectionCipher* const cipher = []() -> const SectionCipher* {
    Api api{};
    return Load(&api) ? new Cipher(api) : nullptr;
  }();
  return cipher;
}

}  // namespace longshore
