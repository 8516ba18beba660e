// Paths and URLs as a person gives them.
#pragma once

#include <string>
#include <string_view>

namespace slotkeeper {

/// Whether this is an http or https URL; anything else is a path.
[[nodiscard]] bool is_url(std::string_view location);

/// The location as it may be printed and recorded: of a URL, the user, the password, the query and the fragment are
/// replaced by "..."; a path stays as it is.
[[nodiscard]] std::string printable_location(std::string_view location);

/// The file `name` beside it: in the same folder, or below the same URL, without query and fragment.
[[nodiscard]] std::string beside(std::string_view location, std::string_view name);

}  // namespace slotkeeper
