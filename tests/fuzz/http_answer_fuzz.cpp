// Answers and locations as a server or a person may send them.
//
// Inputs are a location, then the lines of an answer. What is printed of a location hides the same thing when it is
// printed again, and no part of a range that was taken contradicts the others.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/source/http_answer.hpp"
#include "engine/source/location.hpp"

namespace {

using namespace slotkeeper;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_location(std::string_view location) {
  const std::string printable = printable_location(location);
  require(printable_location(printable) == printable);
  require(is_url(printable) == is_url(location));
  if (!is_url(location)) {
    require(printable == location);
    return;
  }
  // Whatever stands before an '@' of the first part is gone.
  const std::size_t begin = printable.find("//") + 2;
  const std::string_view authority =
      std::string_view(printable).substr(begin, printable.find_first_of("/?#", begin) - begin);
  const std::size_t at = authority.rfind('@');
  require(at == std::string_view::npos || authority.substr(0, at) == "...");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t first = text.find('\n');
  check_location(text.substr(0, first));
  if (first == std::string_view::npos) return 0;
  text.remove_prefix(first + 1);

  HttpAnswer answer;
  answer.host = "host";
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    answer.take_line(line);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  require(answer.host == "host" && answer.status >= 0 && answer.status <= 999);
  require(answer.etag.size() <= kHeaderValueMaxBytes && answer.last_modified.size() <= kHeaderValueMaxBytes);
  if (answer.content_range) {
    const auto& [range, total] = *answer.content_range;
    require(range || total);
    require(!range || range->begin < range->end);
    require(!range || !total || range->end <= *total);
  }
  const ContentIdentity identity = answer.identity();
  require(!identity.difference(identity));
  require(!status_text(answer.status).empty());
  return 0;
}
