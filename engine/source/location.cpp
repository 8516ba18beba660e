#include "engine/source/location.hpp"

#include <algorithm>

namespace slotkeeper {
namespace {

constexpr std::string_view kHidden = "...";

char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter; }

bool begins_with(std::string_view text, std::string_view lower_case) {
  return text.size() >= lower_case.size() &&
         std::ranges::equal(text.substr(0, lower_case.size()), lower_case, {}, lower);
}

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

/// Whether what stands before the first '/', '?' or '#' is a host, perhaps with a port. "user:pass" of
/// "user:pass/word@host" is not.
bool is_host(std::string_view authority) {
  const std::size_t bracket = authority.rfind(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  return colon == std::string_view::npos || std::ranges::all_of(authority.substr(colon + 1), is_digit);
}

}  // namespace

bool is_url(std::string_view location) { return begins_with(location, "http://") || begins_with(location, "https://"); }

std::string printable_location(std::string_view location) {
  if (!is_url(location)) return std::string(location);
  const std::size_t scheme_end = location.find("//") + 2;
  std::string printable(location.substr(0, scheme_end));
  std::string_view rest = location.substr(scheme_end);

  std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  // A password with an unescaped '/' would otherwise be taken for a path and printed.
  if (authority.find('@') == std::string_view::npos && !is_host(authority)) authority = rest;
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    printable += kHidden;
    rest.remove_prefix(at);
  }
  const std::size_t end = rest.find_first_of("?#");
  printable += rest.substr(0, end);
  if (end != std::string_view::npos) printable += rest[end] + std::string(kHidden);
  return printable;
}

std::string beside(std::string_view location, std::string_view name) {
  std::size_t path = 0;  // where it begins
  if (is_url(location)) {
    const std::size_t scheme_end = location.find("//") + 2;
    location = location.substr(0, location.find_first_of("?#", scheme_end));
    path = std::min(location.find('/', scheme_end), location.size());
    if (path == location.size()) return std::string(location) + "/" + std::string(name);
  }
  const std::size_t slash = location.rfind('/');
  const std::size_t folder_end = slash == std::string_view::npos ? path : slash + 1;
  return std::string(location.substr(0, folder_end)) + std::string(name);
}

}  // namespace slotkeeper
