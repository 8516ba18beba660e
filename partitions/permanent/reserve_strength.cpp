#include "partitions/permanent/reserve_strength.hpp"

namespace slotkeeper::permanent {
namespace {

// linux/magic.h
constexpr std::uint64_t kExt = 0xEF53;
constexpr std::uint64_t kXfs = 0x58465342;
constexpr std::uint64_t kBtrfs = 0x9123683E;

}  // namespace

bool overwrites_in_place(std::uint64_t filesystem_magic) { return filesystem_magic != kBtrfs; }

std::string reserve_weakness(std::uint64_t filesystem_magic) {
  switch (filesystem_magic) {
    case kExt:
      return {};
    case kXfs:
      return "the permanent partition is xfs: inodes are taken from free space and cannot be set aside one by one; a "
             "rollback on a full partition was tested there, but is guaranteed in full strength on ext4 only";
    case kBtrfs:
      return "the permanent partition is btrfs: every write needs new space, also of its metadata, which no file can "
             "set aside; where that is used up, a rollback stops with restore-incomplete, every file whole, until "
             "something is deleted";
    default:
      return "the filesystem of the permanent partition is none of ext4, xfs and btrfs: whether a rollback succeeds on "
             "it when it is full is not known";
  }
}

}  // namespace slotkeeper::permanent
