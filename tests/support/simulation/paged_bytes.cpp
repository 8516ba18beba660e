#include "tests/support/simulation/paged_bytes.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <xxhash.h>

namespace slotkeeper::test {
namespace {

constexpr std::uint64_t kZeroHash = 1;

std::size_t pages_for(std::uint64_t bytes) {
  return static_cast<std::size_t>((bytes + PagedBytes::kPageBytes - 1) / PagedBytes::kPageBytes);
}

/// Calls `piece(page, offset in the page, length)` for every page that the range touches.
template <class F>
void for_each_piece(std::uint64_t offset, std::uint64_t length, const F& piece) {
  for (const std::uint64_t end = offset + length; offset < end;) {
    const std::uint64_t in_page = offset % PagedBytes::kPageBytes;
    const std::uint64_t count = std::min<std::uint64_t>(end - offset, PagedBytes::kPageBytes - in_page);
    piece(static_cast<std::size_t>(offset / PagedBytes::kPageBytes), static_cast<std::size_t>(in_page),
          static_cast<std::size_t>(count));
    offset += count;
  }
}

}  // namespace

PagedBytes::PagedBytes(io::ConstBytes contents) { write(0, contents); }

const std::shared_ptr<PagedBytes::Page>& PagedBytes::zero_page() {
  static const auto page = std::make_shared<Page>();
  return page;
}

PagedBytes::Page& PagedBytes::writable(std::size_t index) {
  std::shared_ptr<Page>& page = pages_[index];
  if (!page) {
    page = std::make_shared<Page>();
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  page->hash = 0;
  return *page;
}

void PagedBytes::grow_to(std::uint64_t size_bytes) {
  if (size_bytes <= size_) return;
  pages_.resize(pages_for(size_bytes));
  size_ = size_bytes;
}

void PagedBytes::resize(std::uint64_t size_bytes) {
  if (size_bytes >= size_) return grow_to(size_bytes);
  pages_.resize(pages_for(size_bytes));
  size_ = size_bytes;
  if (const std::size_t rest = size_bytes % kPageBytes; rest != 0 && pages_.back()) {
    Page& last = writable(pages_.size() - 1);
    std::fill(last.bytes.begin() + static_cast<std::ptrdiff_t>(rest), last.bytes.end(), std::byte{});
  }
}

std::size_t PagedBytes::read(std::uint64_t offset, io::Bytes into) const {
  if (offset >= size_) return 0;
  const auto length = std::min<std::uint64_t>(into.size(), size_ - offset);
  std::byte* out = into.data();
  for_each_piece(offset, length, [&](std::size_t page, std::size_t at, std::size_t count) {
    if (pages_[page]) {
      std::memcpy(out, pages_[page]->bytes.data() + at, count);
    } else {
      std::memset(out, 0, count);
    }
    out += count;
  });
  return static_cast<std::size_t>(length);
}

std::string PagedBytes::text() const {
  std::string text(static_cast<std::size_t>(size_), '\0');
  read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void PagedBytes::write(std::uint64_t offset, io::ConstBytes data) {
  if (data.empty()) return;
  grow_to(offset + data.size());
  const std::byte* from = data.data();
  for_each_piece(offset, data.size(), [&](std::size_t page, std::size_t at, std::size_t count) {
    std::memcpy(writable(page).bytes.data() + at, from, count);
    from += count;
  });
}

void PagedBytes::fill(std::uint64_t offset, std::uint64_t length, std::byte value) {
  grow_to(offset + length);
  for_each_piece(offset, length, [&](std::size_t page, std::size_t at, std::size_t count) {
    if (value == std::byte{} && count == kPageBytes) {
      pages_[page] = zero_page();
    } else {
      std::memset(writable(page).bytes.data() + at, static_cast<int>(value), count);
    }
  });
}

void PagedBytes::punch(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_) return;
  for_each_piece(offset, std::min(length, size_ - offset), [&](std::size_t page, std::size_t at, std::size_t count) {
    if (count == kPageBytes) {
      pages_[page] = nullptr;
    } else if (pages_[page]) {
      std::memset(writable(page).bytes.data() + at, 0, count);
    }
  });
}

void PagedBytes::allocate(std::uint64_t offset, std::uint64_t length) {
  grow_to(offset + length);
  for_each_piece(offset, length, [&](std::size_t page, std::size_t, std::size_t) {
    if (!pages_[page]) pages_[page] = zero_page();
  });
}

std::uint64_t PagedBytes::allocated_bytes() const {
  return kPageBytes *
         static_cast<std::uint64_t>(std::ranges::count_if(pages_, [](const auto& page) { return page != nullptr; }));
}

std::uint64_t PagedBytes::missing_bytes(std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t missing = 0;
  for_each_piece(offset, length, [&](std::size_t page, std::size_t, std::size_t) {
    if (page >= pages_.size() || !pages_[page]) missing += kPageBytes;
  });
  return missing;
}

std::uint64_t PagedBytes::hash_of(const std::shared_ptr<Page>& page) {
  if (!page) return kZeroHash;
  if (page->hash == 0) {
    const bool zeros = page == zero_page() || page->bytes == zero_page()->bytes;
    page->hash = zeros ? kZeroHash : XXH3_64bits(page->bytes.data(), kPageBytes) | 2U;
  }
  return page->hash;
}

std::uint64_t PagedBytes::hash() const {
  std::uint64_t sum = size_ * 0x9E3779B97F4A7C15U;
  for (const auto& page : pages_) {
    sum = (sum ^ hash_of(page)) * 0xD6E8FEB86659FD93U;
    sum ^= sum >> 32U;
  }
  return sum;
}

bool PagedBytes::begins_like(const PagedBytes& other, std::uint64_t length) const {
  if (size_ < length || other.size_ < length) return false;
  bool same = true;
  for_each_piece(0, length, [&](std::size_t page, std::size_t, std::size_t count) {
    const auto& mine = pages_[page] ? pages_[page] : zero_page();
    const auto& theirs = other.pages_[page] ? other.pages_[page] : zero_page();
    if (!same || mine == theirs) return;
    same = std::memcmp(mine->bytes.data(), theirs->bytes.data(), count) == 0;
  });
  return same;
}

}  // namespace slotkeeper::test
