// GRUB environment blocks made line by line, without the code under test.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "bootloader-hooks/grub_environment.hpp"

namespace slotkeeper::test {

inline boot::GrubBlock grub_block_of(std::string text) {
  if (text.size() > boot::kGrubBlockBytes) throw std::runtime_error("more text than a GRUB environment block holds");
  text.resize(boot::kGrubBlockBytes, '#');
  boot::GrubBlock block;
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(text[i]);
  return block;
}

/// The first line, these lines as they are, padding.
inline boot::GrubBlock grub_block(const std::vector<std::string>& lines) {
  std::string text = "# GRUB Environment Block\n";
  for (const std::string& line : lines) text += line + "\n";
  return grub_block_of(std::move(text));
}

}  // namespace slotkeeper::test
