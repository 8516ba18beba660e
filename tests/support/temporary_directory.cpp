#include "tests/support/temporary_directory.hpp"

#include <cstdio>
#include <cstdlib>
#include <ftw.h>
#include <stdexcept>
#include <unistd.h>

namespace slotkeeper::test {
namespace {
int remove_entry(const char* path, const struct stat*, int, struct FTW*) { return ::remove(path); }
}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  const char* const base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/slotkeeper-test-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder as " + path_);
}

TemporaryDirectory::~TemporaryDirectory() {
  constexpr int kOpenFolders = 16;
  if (::nftw(path_.c_str(), remove_entry, kOpenFolders, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0) {
    std::fprintf(stderr, "cannot remove the temporary folder %s\n", path_.c_str());
  }
}

}  // namespace slotkeeper::test
