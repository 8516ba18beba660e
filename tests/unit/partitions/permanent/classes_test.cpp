#include "partitions/permanent/classes.hpp"

#include <clocale>

#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

ClassTable table() {
  return {
      .rules = {{.name = "security", .kind = ClassKind::security_log, .match = {"log/security/**"}, .keep_days = 180},
                {.name = "system", .kind = ClassKind::log, .match = {"log/**", "**/*.log"}, .keep_days = {}},
                {.name = "leases", .kind = ClassKind::state, .match = {"state/*.db"}, .keep_days = {}}}};
}

TEST(Glob, MatchesOneComponentAtATime) {
  EXPECT_TRUE(glob_matches("log/*", "log/a"));
  EXPECT_FALSE(glob_matches("log/*", "log/a/b"));
  EXPECT_FALSE(glob_matches("log/*", "log"));
  EXPECT_TRUE(glob_matches("*/b/?", "a/b/c"));
  EXPECT_TRUE(glob_matches("[a-c]/x", "b/x"));
  EXPECT_FALSE(glob_matches("[!a-c]/x", "b/x"));
  EXPECT_FALSE(glob_matches("log", "log/a"));
  EXPECT_FALSE(glob_matches("?", "a/b"));
}

TEST(Glob, TwoStarsAreZeroOrMoreComponents) {
  EXPECT_TRUE(glob_matches("log/**", "log"));
  EXPECT_TRUE(glob_matches("log/**", "log/a/b/c"));
  EXPECT_FALSE(glob_matches("log/**", "logs"));
  EXPECT_FALSE(glob_matches("log/**", "a/log"));
  EXPECT_TRUE(glob_matches("**/x", "x"));
  EXPECT_TRUE(glob_matches("**/x", "a/b/x"));
  EXPECT_FALSE(glob_matches("**/x", "a/b/x/c"));
  EXPECT_TRUE(glob_matches("a/**/b/**/c", "a/b/c"));
  EXPECT_TRUE(glob_matches("a/**/b/**/c", "a/1/b/b/2/c/c"));
  EXPECT_FALSE(glob_matches("a/**/b/**/c", "a/1/2/c"));
  EXPECT_TRUE(glob_matches("**", "a/b"));
  EXPECT_TRUE(glob_matches("**", "."));
  EXPECT_FALSE(glob_matches("*", "."));
}

TEST(Glob, ManyStarsDoNotTakeForEver) {
  std::string pattern;
  std::string path;
  for (int i = 0; i < 60; ++i) pattern += "**/a/";
  for (int i = 0; i < 250; ++i) path += "a/";
  EXPECT_FALSE(glob_matches(pattern + "b", path + "c"));
  EXPECT_TRUE(glob_matches(pattern + "c", path + "c"));
}

TEST(Glob, LeadingDotAndBackslash) {
  EXPECT_TRUE(glob_matches("*", ".hidden"));
  EXPECT_TRUE(glob_matches("**/*.log", "a/.log"));
  EXPECT_TRUE(glob_matches("a\\*b", "a*b"));
  EXPECT_FALSE(glob_matches("a\\*b", "axb"));
  EXPECT_TRUE(glob_matches("\\[x", "[x"));
}

TEST(Glob, EveryByteOfANameIsMatchedWhateverTheLocale) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  const bool has_utf8 = std::setlocale(LC_ALL, "C.UTF-8") != nullptr;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    const std::string name = std::string("x") + static_cast<char>(byte) + "y";
    EXPECT_TRUE(glob_matches("d/x?y", "d/" + name)) << byte;
    EXPECT_TRUE(glob_matches("d/*", "d/" + name)) << byte;
    EXPECT_TRUE(glob_matches("**/*y", "d/" + name)) << byte;
    EXPECT_FALSE(glob_matches("d/x??y", "d/" + name)) << byte;
  }
  std::setlocale(LC_ALL, before.c_str());
  EXPECT_TRUE(has_utf8) << "the UTF-8 half of this test did not take place";
}

TEST(GlobProblem, NamesWhatIsWrong) {
  for (const char* good :
       {"a", "a/b", "**", "log/**", "[a]", "[]]", "[!]a]", "[[:alpha:]]", "a\\[", "[\\]]", ".x", "..."}) {
    EXPECT_FALSE(glob_problem(good).has_value()) << good;
  }
  for (const char* bad : {"", "/a", "a//b", "a/", "..", "a/../b", "./a", ".", "[", "a[b", "[]", "[!]", "[a/b]", "a\\",
                          "a\\/b", "[[:alpha:]"}) {
    EXPECT_TRUE(glob_problem(bad).has_value()) << bad;
  }
  EXPECT_TRUE(glob_problem(std::string_view("a\0b", 3)).has_value());
}

TEST(ClassTable, FirstRuleThatMatchesWins) {
  const ClassTable classes = table();
  EXPECT_EQ(classes.classify("log/security/1").name, "security");
  EXPECT_EQ(classes.classify("log/security").name, "security");
  EXPECT_EQ(classes.classify("log").name, "system");
  EXPECT_EQ(classes.classify("etc/x.log").kind, ClassKind::log);
  EXPECT_EQ(classes.classify("state/a.db").kind, ClassKind::state);
}

TEST(ClassTable, WhatNoRuleMatchesIsConfig) {
  const ClassTable classes = table();
  for (const char* path : {".", "etc", "state", "state/a/b.db", "logs", "etc/passwd"}) {
    EXPECT_EQ(classes.classify(path).name, "config") << path;
    EXPECT_EQ(classes.classify(path).kind, ClassKind::config) << path;
    EXPECT_EQ(classes.index_of(path), classes.rules.size()) << path;
  }
}

TEST(ClassKind, NamesGoBothWays) {
  for (const ClassKind kind :
       {ClassKind::config, ClassKind::state, ClassKind::log, ClassKind::security_log, ClassKind::disposable}) {
    EXPECT_EQ(kind_from_name(name_of(kind)), kind);
  }
  EXPECT_EQ(name_of(ClassKind::security_log), "security-log");
  EXPECT_FALSE(kind_from_name("security_log").has_value());
  EXPECT_FALSE(kind_from_name("").has_value());
}

}  // namespace
}  // namespace slotkeeper::permanent
