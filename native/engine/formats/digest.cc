#include "engine/formats/digest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "engine/kv/sha256.h"

namespace longshore {
namespace {

constexpr size_t kReadBytes = 1 << 20;
// Smaller weights are hashed in milliseconds: not worth a file beside them.
constexpr uint64_t kRememberFromBytes = 16ull << 20;

// "<size> <modification time in ns> <path's last part>" per file: what a remembered digest depends on.
Result<std::string> Fingerprint(std::span<const std::string> paths, uint64_t* total_bytes) {
  std::ostringstream lines;
  for (const std::string& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return Status(Code::kNotFound, "cannot open " + path + ": " + std::strerror(errno));
    *total_bytes += static_cast<uint64_t>(info.st_size);
#ifdef __APPLE__
    const struct timespec& modified = info.st_mtimespec;
#else
    const struct timespec& modified = info.st_mtim;
#endif
    lines << info.st_size << ' ' << static_cast<int64_t>(modified.tv_sec) * 1000000000 + modified.tv_nsec << ' ' << path.substr(path.rfind('/') + 1) << '\n';
  }
  return lines.str();
}

Status HashFile(const std::string& path, std::vector<uint8_t>* buffer, Sha256* hash) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {Code::kNotFound, "cannot open " + path + ": " + std::strerror(errno)};
  ssize_t count;
  while ((count = ::read(fd, buffer->data(), buffer->size())) != 0) {
    if (count < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      ::close(fd);
      return {Code::kInternal, "cannot read " + path + ": " + std::strerror(error)};
    }
    hash->Update(buffer->data(), static_cast<size_t>(count));
  }
  ::close(fd);
  return Status::Ok();
}

// First line: the digest; the rest: the fingerprint it belongs to. Empty when there is none that counts.
std::string Recall(const std::string& path, const std::string& fingerprint) {
  std::ifstream file(path, std::ios::binary);
  std::string digest, rest;
  if (!std::getline(file, digest) || digest.size() != 71 || !digest.starts_with("sha256:")) return "";
  if (digest.find_first_not_of("0123456789abcdef", 7) != std::string::npos) return "";
  rest.resize(fingerprint.size() + 1);
  file.read(rest.data(), static_cast<std::streamsize>(rest.size()));
  rest.resize(static_cast<size_t>(file.gcount()));
  return rest == fingerprint ? digest : "";
}

// Written beside and renamed, so that a reader sees a whole file. Failing is fine: the next start hashes again.
void Remember(const std::string& path, const std::string& digest, const std::string& fingerprint) {
  const std::string temporary = path + "." + std::to_string(::getpid()) + ".tmp";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << digest << '\n' << fingerprint;
    if (!file.good()) {
      file.close();
      std::remove(temporary.c_str());
      return;
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) std::remove(temporary.c_str());
}

}  // namespace

Result<std::string> DigestWeightFiles(std::span<const std::string> paths) {
  if (paths.empty()) return Status(Code::kInvalidArgument, "no weight files to digest");
  uint64_t total_bytes = 0;
  Result<std::string> before = Fingerprint(paths, &total_bytes);
  if (!before.ok()) return before.status();
  const std::string memory = paths.front() + ".sha256";
  const bool remember = total_bytes >= kRememberFromBytes;
  if (remember) {
    if (std::string digest = Recall(memory, before.value()); !digest.empty()) return digest;
  }
  Sha256 hash;
  std::vector<uint8_t> buffer(kReadBytes);
  for (const std::string& path : paths) {
    if (Status s = HashFile(path, &buffer, &hash); !s.ok()) return s;
  }
  const std::string digest = "sha256:" + Hex(hash.Finish());
  total_bytes = 0;
  Result<std::string> after = Fingerprint(paths, &total_bytes);
  if (!after.ok()) return after.status();
  // A file that changed meanwhile gets no remembered digest: which state was hashed is unknown.
  if (remember && after.value() == before.value()) Remember(memory, digest, before.value());
  return digest;
}

}  // namespace longshore
