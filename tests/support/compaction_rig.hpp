// What tests of the compaction share: a real ext4 partition with logs, a plan for it and its carrying out.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/reserve.hpp"
#include "tests/support/log_lines.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

/// Keeps the notices of a run.
class NotedProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t done, std::uint64_t total) override { EXPECT_LE(done, total); }
  void notice(std::string_view message) override { notices.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return false; }
  std::vector<std::string> notices;
};

class CompactionRig : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    use({.size_bytes = 32u << 20});
  }
  void use(const Ext4Options& options) {
    partition_.reset();
    partition_ = std::make_unique<PermanentPartition>(options);
    std::filesystem::create_directories(at("log/security"));
    ASSERT_TRUE(permanent::make_own_directory(*partition_->open()).has_value());
  }

  /// A moment at which everything that was written just now is quiet.
  static io::TimeStamp later() { return {.seconds = std::time(nullptr) + 3600, .nanoseconds = 0}; }
  static constexpr std::int64_t kDay = 86'400;
  static std::int64_t days_ago(std::int64_t days) { return std::time(nullptr) - days * kDay; }

  Result<permanent::CompactionPlan> try_plan(io::Storage& storage, io::TimeStamp now) {
    SK_TRY_ASSIGN(const auto root, storage.open_directory(partition_->path()));
    SK_TRY_ASSIGN(auto inventory, permanent::take_inventory(*root, classes_, permanent::HashScope::nothing, progress_));
    permanent::CompactionLimits limits{.now = now};
    SK_TRY_ASSIGN(limits.half_compressed_inode, permanent::half_compressed(scratch()));
    return permanent::plan_compaction(*root, std::move(inventory), classes_, limits);
  }
  permanent::CompactionPlan plan() { return plan(later()); }
  permanent::CompactionPlan plan(io::TimeStamp now) {
    auto made = try_plan(partition_->storage(), now);
    EXPECT_TRUE(made.has_value()) << made.assume_error().message;
    return made.has_value() ? std::move(made).assume_value() : permanent::CompactionPlan{};
  }
  Result<permanent::CompactionReport> try_carry_out(io::Storage& storage, const permanent::CompactionPlan& plan) {
    SK_TRY_ASSIGN(const auto root, storage.open_directory(partition_->path()));
    return permanent::carry_out(*root, plan, scratch(), progress_);
  }
  permanent::CompactionReport carry_out(const permanent::CompactionPlan& plan) {
    auto report = try_carry_out(partition_->storage(), plan);
    EXPECT_TRUE(report.has_value()) << report.assume_error().message;
    return report.has_value() ? std::move(report).assume_value() : permanent::CompactionReport{};
  }
  permanent::CompactionReport compact() { return carry_out(plan()); }
  bool recover() {
    auto recovered = permanent::recover_compaction(*partition_->open(), scratch(), progress_);
    EXPECT_TRUE(recovered.has_value()) << recovered.assume_error().message;
    return recovered.has_value() && recovered.assume_value();
  }
  virtual permanent::ScratchAreas scratch() { return {*first_area_, *second_area_}; }

  static std::vector<std::string> texts(const permanent::CompactionPlan& plan) {
    std::vector<std::string> all;
    for (const auto& action : plan.actions) all.push_back(text_of(action.kind, plan.path(action)));
    return all;
  }
  static std::vector<std::string> texts(const permanent::LeftAloneList& list) {
    std::vector<std::string> all;
    for (const auto& left : list.named()) all.push_back(left.path + ": " + std::string(text_of(left.reason)));
    return all;
  }
  [[nodiscard]] bool exists(const std::string& path) const { return ::access(at(path).c_str(), F_OK) == 0; }
  [[nodiscard]] std::string at(const std::string& path) const { return *partition_ / path; }
  [[nodiscard]] bool own_directory_is_empty() const { return std::filesystem::is_empty(at(".slotkeeper")); }

  std::unique_ptr<PermanentPartition> partition_;
  permanent::ClassTable classes_ = usual_classes();
  std::optional<MemoryArea> first_area_{std::in_place, 128 * 1024};
  std::optional<MemoryArea> second_area_{std::in_place, 128 * 1024};
  NotedProgress progress_;
};

}  // namespace slotkeeper::test
