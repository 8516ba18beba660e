#include "bootloader-hooks/variables.hpp"

#include <algorithm>
#include <sstream>

namespace slotkeeper::boot {
namespace {

std::vector<std::string> words_in(const std::optional<std::string>& text) {
  std::vector<std::string> words;
  std::istringstream stream(text.value_or(""));
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::optional<std::string> value_of(const Variables& variables, const std::string& name) {
  const auto found = variables.find(name);
  if (found == variables.end()) return std::nullopt;
  return found->second;
}

std::vector<SlotId> order_in(const std::optional<std::string>& text) {
  std::vector<SlotId> order;
  for (const std::string& word : words_in(text)) {
    const auto slot = slot_from_name(word);
    if (slot && std::ranges::find(order, *slot) == order.end()) order.push_back(*slot);
  }
  return order;
}

std::string order_text(const std::vector<SlotId>& order, const std::optional<std::string>& before) {
  std::string text;
  for (const SlotId slot : order) text += (text.empty() ? "" : " ") + std::string(name_of(slot));
  for (const std::string& word : words_in(before)) {
    if (!slot_from_name(word)) text += (text.empty() ? "" : " ") + word;
  }
  return text;
}

}  // namespace slotkeeper::boot
