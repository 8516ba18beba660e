// Rotated log segments: which ones, in which order, and that nothing of them is lost.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/compaction_rig.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CompactionSegments : public CompactionRig {
 protected:
  void put_log(const std::string& path, std::uint64_t lines = 2000, std::int64_t days = 1) {
    put_file(at(path), log_lines(1, lines));
    put_time(at(path), days_ago(days), 123'456'789);
  }
};

TEST_F(CompactionSegments, CompressesRotatedSegmentsAndNothingElse) {
  const std::string lines = log_lines(1, 5000);
  for (const char* path : {"log/system.log", "log/system.log.1", "log/system.log.2", "log/security/audit",
                           "log/security/audit-20261031", "log/security/audit-20261101", "settings.1"}) {
    put_file(at(path), lines);
  }
  const TreeListing before = list_tree(partition_->path(), {.times = false});
  const CompactionPlan planned = plan();
  EXPECT_THAT(texts(planned),
              ElementsAre("compress log/security/audit-20261031", "compress log/security/audit-20261101",
                          "compress log/system.log.1", "compress log/system.log.2"));
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.times = false})), "") << "a plan writes nothing";
  const CompactionReport report = carry_out(planned);
  EXPECT_EQ(report.compressed.size(), 4U);
  EXPECT_GE(report.freed.bytes, planned.frees.bytes) << "an estimate that promises too much";
  EXPECT_LE(report.freed.bytes, planned.frees.bytes * 2) << "an estimate that is of no use";
  EXPECT_EQ(planned.frees_by_class.at("system").bytes + planned.frees_by_class.at("security").bytes,
            planned.frees.bytes);
  for (const char* path : {"log/system.log.1", "log/system.log.2", "log/security/audit-20261031"}) {
    EXPECT_FALSE(exists(path));
    EXPECT_TRUE(read_log(at(path) + ".zst") == lines) << path;
  }
  EXPECT_TRUE(contents_of(at("log/system.log")) == lines);
  EXPECT_TRUE(contents_of(at("settings.1")) == lines);
  EXPECT_THAT(progress_.notices, Contains(HasSubstr("compressed log/system.log.1: ")));
  EXPECT_TRUE(own_directory_is_empty());
  EXPECT_THAT(texts(plan()), IsEmpty()) << "a second run finds nothing to do";
  EXPECT_FALSE(recover());
}

TEST_F(CompactionSegments, APlanThatForgetsAllOtherFilesIsCarriedOutAllTheSame) {
  for (const char* path :
       {"log/system.log", "log/system.log.1", "log/system.log.2", "spool/z", "spool/a", "settings.1"}) {
    std::filesystem::create_directories(std::filesystem::path(at(path)).parent_path());
    put_file(at(path), log_lines(1, 5000));
  }
  CompactionPlan planned = plan();
  const std::vector<std::string> before = texts(planned);
  ASSERT_THAT(before, ElementsAre("remove spool/a", "remove spool/z", "compress log/system.log.1",
                                  "compress log/system.log.2"));
  planned.keep_planned_files();
  EXPECT_EQ(planned.inventory.entries.size(), 4U);
  EXPECT_EQ(texts(planned), before);
  const CompactionReport report = carry_out(planned);
  EXPECT_EQ(report.removed_files, 2U);
  EXPECT_EQ(report.compressed.size(), 2U);
  EXPECT_TRUE(exists("settings.1"));
}

TEST_F(CompactionSegments, KeepsOwnerModeTimesAttributesAndAccessLists) {
  put_log("log/system.log");
  put_log("log/system.log.1");
  const std::string path = at("log/system.log.1");
  put_attribute(path, "user.origin", "factory");
  put_attribute(path, "trusted.seal", noise(200, 3));
  run_tool({"setfacl", "-m", "u:4711:rw,g:4712:r", path});
  ASSERT_EQ(::lchown(path.c_str(), 1234, 5678), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  put_time(path, days_ago(3), 987'654'321);
  const auto attributes = [&](const std::string& name) {
    std::string line = list_tree(partition_->path()).at(name);
    return line.substr(0, line.find(" contents="));
  };
  const std::string acl = run_tool({"getfacl", "-c", "-p", path});
  struct stat before {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  EXPECT_EQ(compact().compressed.size(), 1U);
  struct stat after {};
  ASSERT_EQ(::stat((path + ".zst").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_uid, 1234U);
  EXPECT_EQ(after.st_gid, 5678U);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(after.st_nlink, 1U);
  EXPECT_EQ(run_tool({"getfacl", "-c", "-p", path + ".zst"}), acl);
  EXPECT_THAT(attributes("log/system.log.1.zst"), HasSubstr("trusted.seal"));
}

TEST_F(CompactionSegments, LeavesTheFileThatMayBeWrittenAlone) {
  // No plain name beside them: the newest one may be what the program writes.
  for (const char* path : {"log/a.1", "log/a.2", "log/b-20261031", "log/b-20261101", "log/c-1.log", "log/c-2.log",
                           "log/c-3.log", "log/d.old"}) {
    put_log(path);
  }
  EXPECT_THAT(texts(plan()),
              testing::UnorderedElementsAre("compress log/a.2", "compress log/b-20261031", "compress log/c-2.log"));
}

TEST_F(CompactionSegments, SaysWhyFilesAreLeftAlone) {
  put_log("log/x");
  for (const char* path : {"log/x.1", "log/x.2", "log/x.3", "log/x.4", "log/x.6", "log/x.7"}) put_log(path);
  put_file(at("log/x.5"), "short\n");
  put_file(at("log/x.8"), noise(50'000, 1));
  put_file(at("log/x.9"), output_of("gzip -c " + at("log/x.1")));
  const int writer = ::open(at("log/x.1").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  ASSERT_EQ(::link(at("log/x.2").c_str(), at("log/second-name").c_str()), 0);
  put_file(at("log/x.3.zst"), "not ours");
  run_tool({"chattr", "+i", at("log/x.4")});
  const std::string wide(250, 'w');
  put_log("log/" + wide + ".1");
  put_log("log/" + wide);
  put_time(at("log/x.7"), later().seconds - 1, 0);
  const CompactionPlan planned = plan();
  EXPECT_THAT(texts(planned), ElementsAre("compress log/x.6"));
  EXPECT_THAT(texts(planned.left_alone),
              testing::UnorderedElementsAre("log/x.1: in use", "log/x.2: has several names",
                                            "log/x.3: its compressed name is taken", "log/x.4: immutable",
                                            "log/x.5: nothing to gain", "log/x.7: changed a moment ago",
                                            "log/x.8: nothing to gain", "log/x.9: compressed already",
                                            "log/" + wide + ".1: its compressed name would be too long"));
  carry_out(planned);
  ::close(writer);
  run_tool({"chattr", "-i", at("log/x.4")});
  EXPECT_TRUE(contents_of(at("log/x.3.zst")) == "not ours");
}

TEST_F(CompactionSegments, NeverMovesALogIntoAnotherClass) {
  classes_ = {
      .rules = {
          {.name = "audit", .kind = ClassKind::security_log, .match = {"log/audit", "log/audit.?"}, .keep_days = {}},
          {.name = "rest", .kind = ClassKind::log, .match = {"log/**"}, .keep_days = 10}}};
  put_log("log/audit");
  put_log("log/audit.1");
  const CompactionPlan planned = plan();
  EXPECT_THAT(texts(planned), IsEmpty());
  EXPECT_THAT(texts(planned.left_alone), ElementsAre("log/audit.1: its compressed name would belong to another class"));
}

TEST_F(CompactionSegments, DropsExpiredSegmentsOldestFirstAndCountsTheirEntries) {
  for (const char* series : {"log/system.log", "log/security/audit"}) {
    put_log(series, 10, 0);
    put_log(std::string(series) + ".1", 100, 170);
    put_log(std::string(series) + ".2", 200, 190);
    put_log(std::string(series) + ".10", 300, 400);
  }
  run_tool({"zstd", "-q", "--rm", at("log/system.log.10")});
  put_time(at("log/system.log.10.zst"), days_ago(400), 0);
  put_file(at("log/system.log.11.gz"), output_of("gzip -c " + at("log/system.log.1")));
  put_time(at("log/system.log.11.gz"), days_ago(500), 0);
  const CompactionPlan planned = plan();
  EXPECT_THAT(texts(planned), ElementsAre("drop expired log/system.log.11.gz", "drop expired log/system.log.10.zst",
                                          "drop expired log/system.log.2", "compress log/security/audit.10",
                                          "compress log/security/audit.2", "compress log/security/audit.1",
                                          "compress log/system.log.1"));
  const CompactionReport report = carry_out(planned);
  ASSERT_EQ(report.dropped.size(), 3U);
  EXPECT_FALSE(report.dropped[0].entries);
  EXPECT_EQ(report.dropped[1].entries, 300U);
  EXPECT_EQ(report.dropped[2].entries, 200U);
  EXPECT_THAT(progress_.notices, Contains(HasSubstr("dropped expired log/system.log.2: ")));
  EXPECT_FALSE(exists("log/system.log.2"));
  EXPECT_EQ(wrong_with_lines(read_log(at("log/security/audit.10.zst")), 1, 300), "");
}

TEST_F(CompactionSegments, ClocksThatJumpMakeNothingOld) {
  put_log("log/system.log", 10, 0);
  put_log("log/system.log.1", 100, 100);
  put_log("log/system.log.2", 100, 150);
  constexpr std::int64_t kTenYears = 3650 * kDay;
  EXPECT_THAT(texts(plan({.seconds = days_ago(0) + kTenYears, .nanoseconds = 0})),
              ElementsAre("compress log/system.log.1", "compress log/system.log.2"));
  // A segment from the future, and one from 1970 between two that are in retention.
  put_time(at("log/system.log.2"), days_ago(0) + kTenYears, 0);
  put_time(at("log/system.log.1"), 1000, 0);
  EXPECT_THAT(texts(plan()), ElementsAre("compress log/system.log.1", "compress log/system.log.2"));
}

TEST_F(CompactionSegments, NothingNewerGoesWhenSomethingOlderHasToStay) {
  put_log("log/system.log", 10, 0);
  put_log("log/system.log.1", 100, 200);
  put_log("log/system.log.2", 100, 300);
  const int writer = ::open(at("log/system.log.2").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  EXPECT_THAT(texts(plan()), ElementsAre("compress log/system.log.1"));
  ::close(writer);
  const CompactionPlan planned = plan();
  ASSERT_THAT(texts(planned), ElementsAre("drop expired log/system.log.2", "drop expired log/system.log.1"));
  append_file(at("log/system.log.2"), "one more\n");
  EXPECT_THAT(carry_out(planned).dropped, IsEmpty());
  EXPECT_TRUE(exists("log/system.log.1"));
}

TEST_F(CompactionSegments, DisposableFilesGoFirstAndTheLargestGainIsFirstAmongLogs) {
  std::filesystem::create_directories(at("spool"));
  put_file(at("spool/package"), noise(1000, 1));
  put_log("log/system.log", 10, 0);
  put_log("log/system.log.1", 1000);
  put_log("log/system.log.2", 9000);
  put_log("log/system.log.3", 100, 300);
  EXPECT_THAT(texts(plan()), ElementsAre("remove spool/package", "drop expired log/system.log.3",
                                         "compress log/system.log.2", "compress log/system.log.1"));
}

TEST_F(CompactionSegments, ASegmentThatChangesAfterThePlanIsLeftAlone) {
  put_log("log/x");
  for (const char* path : {"log/x.1", "log/x.2", "log/x.3", "log/x.4"}) put_log(path);
  const CompactionPlan planned = plan();
  ASSERT_EQ(planned.actions.size(), 4U);
  append_file(at("log/x.1"), "one more\n");
  ASSERT_EQ(::rename(at("log/x.2").c_str(), at("log/x.20").c_str()), 0);
  ASSERT_EQ(::unlink(at("log/x.3").c_str()), 0);
  const int writer = ::open(at("log/x.4").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  const CompactionReport report = carry_out(planned);
  ::close(writer);
  EXPECT_THAT(report.compressed, IsEmpty());
  EXPECT_EQ(report.left_alone.count(), 4U);
  EXPECT_TRUE(contents_of(at("log/x.1")) == log_lines(1, 2000) + "one more\n");
  EXPECT_TRUE(own_directory_is_empty());
}

TEST_F(CompactionSegments, EverythingIsDurableWhenItReturns) {
  put_log("log/x");
  put_log("log/x.1");
  put_log("log/x.2", 500, 300);
  ::sync();
  EXPECT_TRUE(compact().has_effect());
  const auto later_on = partition_->after_power_cut();
  EXPECT_TRUE(read_log(*later_on / "log/x.1.zst") == log_lines(1, 2000));
  EXPECT_NE(::access((*later_on / "log/x.1").c_str(), F_OK), 0);
  EXPECT_NE(::access((*later_on / "log/x.2").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace slotkeeper::permanent
