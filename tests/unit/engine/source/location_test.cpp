#include "engine/source/location.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

TEST(Location, UrlsAreToldFromPaths) {
  EXPECT_TRUE(is_url("http://update.example/one.skb"));
  EXPECT_TRUE(is_url("HTTPS://update.example/one.skb"));
  EXPECT_FALSE(is_url("/var/one.skb"));
  EXPECT_FALSE(is_url("http:/one.skb"));
  EXPECT_FALSE(is_url("https"));
  EXPECT_FALSE(is_url("ftp://update.example/one.skb"));
}

TEST(Location, PathsArePrintedAsTheyAre) {
  EXPECT_EQ(printable_location("/var/user@place/one.skb?x#y"), "/var/user@place/one.skb?x#y");
}

TEST(Location, UrlsArePrintedWithoutWhatMayBeSecret) {
  EXPECT_EQ(printable_location("https://update.example:8443/a/one.skb"), "https://update.example:8443/a/one.skb");
  EXPECT_EQ(printable_location("https://user:word@update.example/one.skb"), "https://...@update.example/one.skb");
  EXPECT_EQ(printable_location("https://user@update.example"), "https://...@update.example");
  EXPECT_EQ(printable_location("http://update.example/one.skb?token=abc"), "http://update.example/one.skb?...");
  EXPECT_EQ(printable_location("http://update.example?token=abc/d@e"), "http://update.example?...");
  EXPECT_EQ(printable_location("http://update.example/one.skb#part"), "http://update.example/one.skb#...");
  EXPECT_EQ(printable_location("HTTP://a:b@[2001:db8::1]:80/c?d"), "HTTP://...@[2001:db8::1]:80/c?...");
  EXPECT_EQ(printable_location("http://[2001:db8::1]/one@two.skb"), "http://[2001:db8::1]/one@two.skb");
  EXPECT_EQ(printable_location("http://host/mail@box/one.skb"), "http://host/mail@box/one.skb");
}

TEST(Location, APasswordThatShouldHaveBeenEscapedIsNotPrinted) {
  EXPECT_EQ(printable_location("https://user:wo/rd@update.example/one.skb"), "https://...@update.example/one.skb");
  EXPECT_EQ(printable_location("https://user:wo?rd@update.example/one.skb"), "https://...@update.example/one.skb");
  EXPECT_EQ(printable_location("https://us@er:w@rd@update.example/one.skb"), "https://...@update.example/one.skb");
}

TEST(Location, AFileBesideAnotherIsInItsFolderOrBelowTheSameUrl) {
  EXPECT_EQ(beside("/var/delta.skb", "full.skb"), "/var/full.skb");
  EXPECT_EQ(beside("delta.skb", "full.skb"), "full.skb");
  EXPECT_EQ(beside("/delta?x.skb", "full.skb"), "/full.skb");
  EXPECT_EQ(beside("https://user:word@host:8443/a/delta.skb", "full.skb"), "https://user:word@host:8443/a/full.skb");
  EXPECT_EQ(beside("http://host/a/delta.skb?token=b/c#d/e", "full.skb"), "http://host/a/full.skb");
  EXPECT_EQ(beside("http://host", "full.skb"), "http://host/full.skb");
}

}  // namespace
}  // namespace slotkeeper
