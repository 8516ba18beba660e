#include "partitions/permanent/path_list.hpp"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

PathList list_of(const std::vector<std::string>& paths) {
  PathList list;
  for (const std::string& path : paths) list.push_back(path);
  return list;
}

TEST(PathList, GivesBackWhatWasPutInItsOrder) {
  const std::vector<std::string> paths = {".",  "etc", "etc/a", "etc/a/b", "etc/b",           "etc/b",
                                          "e",  "",    "x",     "\xff/\n", std::string(1, 0), std::string("\0\0", 2),
                                          "etc"};
  const PathList list = list_of(paths);
  EXPECT_EQ(list.size(), paths.size());
  EXPECT_EQ(list.front(), ".");
  EXPECT_THAT(list, ElementsAreArray(paths));
  EXPECT_THAT(list, ElementsAreArray(paths));  // a second time
}

TEST(PathList, IsEmptyAtFirst) {
  const PathList list;
  EXPECT_TRUE(list.empty());
  EXPECT_THAT(list, IsEmpty());
}

TEST(PathList, TakesPathsLargerThanABlock) {
  const std::string large(100'000, 'l');
  const std::vector<std::string> paths = {"before", large, large, large + "/below", "z", large};
  EXPECT_THAT(list_of(paths), ElementsAreArray(paths));
}

TEST(PathList, TwoHundredThousandPathsTakeLittleAndAreAllThere) {
  std::mt19937_64 generator(20261126);
  std::vector<std::string> paths;
  for (int i = 0; i < 200'000; ++i) {
    paths.push_back("var/lib/device/config/module-" + std::to_string(generator() % 1000) + "/option-" +
                    std::to_string(generator() % 1'000'000'000));
  }
  std::ranges::sort(paths, std::greater<>());
  const PathList list = list_of(paths);
  EXPECT_LT(list.memory_bytes(), 3U << 20) << list.memory_bytes();
  EXPECT_TRUE(std::ranges::equal(paths, list));
}

}  // namespace
}  // namespace slotkeeper::permanent
