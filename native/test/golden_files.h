// Places of golden files, and whole-file reads, for tests.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace longshore::test {

// CTest sets LONGSHORE_ROOT; a test started by hand runs from the repository's root.
inline std::string RepositoryRoot() {
  const char* root = std::getenv("LONGSHORE_ROOT");
  return root != nullptr ? root : ".";
}

inline std::string GoldenPath(const std::string& name) { return RepositoryRoot() + "/test/golden/" + name; }

// Empty when the file cannot be read.
inline std::vector<uint8_t> ReadFileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace longshore::test
