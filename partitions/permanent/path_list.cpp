#include "partitions/permanent/path_list.hpp"

#include <algorithm>

#include "partitions/permanent/packed_number.hpp"

namespace slotkeeper::permanent {

void PathList::push_back(std::string_view path) {
  const auto shared = static_cast<std::size_t>(std::ranges::mismatch(last_, path).in1 - last_.begin());
  std::string record;
  put_number(record, shared);
  put_number(record, path.size() - shared);
  record.append(path.substr(shared));
  if (blocks_.empty() || blocks_.back().size() + record.size() > kBlockBytes) {
    blocks_.emplace_back().reserve(std::max(kBlockBytes, record.size()));
  }
  blocks_.back() += record;
  last_ = path;
  ++size_;
}

std::uint64_t PathList::memory_bytes() const {
  std::uint64_t sum = blocks_.capacity() * sizeof(std::string) + last_.capacity();
  for (const std::string& block : blocks_) sum += block.capacity();
  return sum;
}

void PathList::Iterator::read() {
  if (index_ >= list_->size_) return;
  if (offset_ == list_->blocks_[block_].size()) {
    ++block_;
    offset_ = 0;
  }
  const std::string& block = list_->blocks_[block_];
  const char* from = block.data() + offset_;
  path_.resize(static_cast<std::size_t>(take_number(from)));
  const auto following = static_cast<std::size_t>(take_number(from));
  path_.append(from, following);
  offset_ = static_cast<std::size_t>(from - block.data()) + following;
}

}  // namespace slotkeeper::permanent
