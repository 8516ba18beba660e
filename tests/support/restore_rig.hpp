// A permanent partition with snapshot and reserve, as an update has them when the trial begins, and the restore.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/restore.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

/// Keeps the notices.
class NoticingProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view message) override { notices.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return false; }
  std::vector<std::string> notices;
};

class RestoreRig {
 public:
  explicit RestoreRig(std::unique_ptr<PermanentPartition> partition) : partition_(std::move(partition)) {
    EXPECT_TRUE(permanent::make_own_directory(*partition_->open()).has_value());
  }

  [[nodiscard]] PermanentPartition& partition() { return *partition_; }
  [[nodiscard]] std::string at(const std::string& path) const { return *partition_ / path; }

  void secure(std::uint64_t slack_bytes) {
    const auto facts = permanent::take_snapshot(
        *partition_->open(), classes, area_, [](const permanent::SnapshotFacts&) { return "{}"; }, progress);
    ASSERT_TRUE(facts.has_value()) << facts.assume_error().message;
    facts_ = facts.assume_value();
    before_ = listing(*partition_);
    const auto reserve = permanent::make_reserve(*partition_->open(), area_, slack_bytes, progress);
    ASSERT_TRUE(reserve.has_value()) << reserve.assume_error().message;
  }

  /// On this partition, or on what a power cut made of it.
  Result<permanent::RestoreReport> restore(io::Directory& root) {
    return permanent::restore_snapshot(root, classes, area_, facts_, progress,
                                       trial_classes ? &*trial_classes : nullptr);
  }
  Result<permanent::RestoreReport> restore() { return restore(*partition_->open()); }

  /// Restores `where` to its end, and shows that the result is exact and that a second run writes nothing.
  permanent::RestoreReport restore_exactly(PermanentPartition& where) {
    const auto report = restore(*where.open());
    EXPECT_TRUE(report.has_value()) << report.assume_error().message;
    EXPECT_EQ(difference(before_, listing(where)), "");
    const TreeListing once = list_tree(where.path(), {.inode_changes = true});
    const auto again = restore(*where.open());
    EXPECT_TRUE(again.has_value() && !again.assume_value().changed);
    EXPECT_EQ(difference(once, list_tree(where.path(), {.inode_changes = true})), "");
    return report.has_value() ? report.assume_value() : permanent::RestoreReport{};
  }
  permanent::RestoreReport restore_exactly() { return restore_exactly(*partition_); }

  [[nodiscard]] TreeListing listing(const PermanentPartition& where) const {
    return list_tree(where.path(), {.takes = takes});
  }

  NoticingProgress progress;
  permanent::ClassTable classes = usual_classes();
  std::optional<permanent::ClassTable> trial_classes;
  std::function<bool(const std::string&)> takes = is_restored;

 private:
  std::unique_ptr<PermanentPartition> partition_;
  MemoryArea area_{16 << 20};
  permanent::SnapshotFacts facts_;
  TreeListing before_;
};

}  // namespace slotkeeper::test
