// A folder of a test's own, gone with the object.
#pragma once

#include <string>

namespace slotkeeper::test {

/// Made below $TMPDIR or /tmp. The destructor removes everything in it, but crosses no mount and follows no link.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  [[nodiscard]] const std::string& path() const { return path_; }
  /// The path of an entry in it.
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace slotkeeper::test
