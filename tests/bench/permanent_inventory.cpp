// How fast an inventory reads and hashes 20,000 files of 2 GB in all, warm, against the same bytes through OpenSSL
// alone on as many threads as there are processors. Both alternate in one run; medians and their ratio are printed.
// Usage: permanent_inventory FOLDER [RUNS]; FOLDER is made and removed.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <openssl/evp.h>

#include "partitions/io/storage.hpp"
#include "partitions/permanent/inventory.hpp"

namespace {

using namespace slotkeeper;  // NOLINT: the words of the benchmark

constexpr std::size_t kFiles = 20'000;
constexpr std::size_t kFolders = 200;
constexpr std::size_t kFileBytes = 100'000;

std::string path_of(const std::string& folder, std::size_t number) {
  return folder + "/folder-" + std::to_string(number % kFolders) + "/configuration-" + std::to_string(number);
}

void make_files(const std::string& folder) {
  std::filesystem::create_directory(folder);
  for (std::size_t i = 0; i < kFolders; ++i) std::filesystem::create_directory(folder + "/folder-" + std::to_string(i));
  std::string contents(kFileBytes, 'c');
  for (std::size_t i = 0; i < kFiles; ++i) {
    const std::string number = std::to_string(i);
    std::ranges::copy(number, contents.begin());
    const int file = ::open(path_of(folder, i).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || ::write(file, contents.data(), contents.size()) != static_cast<ssize_t>(contents.size())) {
      std::perror(path_of(folder, i).c_str());
      std::exit(1);
    }
    ::close(file);
  }
}

/// The least that hashing files takes: open, read, digest.
void hash_with_openssl(const std::string& folder) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    std::vector<unsigned char> buffer(std::size_t{256} * 1024);
    std::array<unsigned char, 32> digest{};
    EVP_MD_CTX* const context = EVP_MD_CTX_new();
    for (std::size_t i = next++; i < kFiles; i = next++) {
      const int file = ::open(path_of(folder, i).c_str(), O_RDONLY | O_CLOEXEC);
      EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
      for (ssize_t count = 0; (count = ::read(file, buffer.data(), buffer.size())) > 0;) {
        EVP_DigestUpdate(context, buffer.data(), static_cast<std::size_t>(count));
      }
      EVP_DigestFinal_ex(context, digest.data(), nullptr);
      ::close(file);
    }
    EVP_MD_CTX_free(context);
  };
  std::vector<std::jthread> threads;
  for (unsigned int i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
}

void take(io::Directory& root) {
  SilentProgress silent;
  const auto inventory = permanent::take_inventory(root, {}, permanent::HashScope::everything, silent);
  if (!inventory.has_value() || inventory.assume_value().entries.size() != kFiles + kFolders + 1) {
    std::fprintf(stderr, "the inventory is not what was made\n");
    std::exit(1);
  }
}

/// Wall time, and processor time of all threads, which a busy machine falsifies less.
struct Figures {
  std::vector<double> wall_s;
  std::vector<double> processor_s;
  void run(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    work();
    wall_s.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    processor_s.push_back(static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC);
  }
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) {
    std::fprintf(stderr, "usage: permanent_inventory FOLDER [RUNS]\n");
    return 2;
  }
  const std::string folder = words[1];
  const int runs = count > 2 ? std::stoi(words[2]) : 5;
  make_files(folder);
  const auto storage = io::make_posix_storage();
  {
    auto root = storage->open_directory(folder);
    if (!root.has_value()) return 1;
    io::Directory& directory = *root.assume_value();
    hash_with_openssl(folder);
    take(directory);
    Figures ours;
    Figures reference;
    for (int run = 0; run < runs; ++run) {
      reference.run([&] { hash_with_openssl(folder); });
      ours.run([&] { take(directory); });
    }
    constexpr double kMegabytes = static_cast<double>(kFiles * kFileBytes) / 1e6;
    std::printf("figure: inventory %.0f MB/s, OpenSSL on %u threads %.0f MB/s, ratio %.2f (medians of %d)\n",
                kMegabytes / median(ours.wall_s), std::thread::hardware_concurrency(),
                kMegabytes / median(reference.wall_s), median(reference.wall_s) / median(ours.wall_s), runs);
    std::printf("figure: processor time %.2f s and %.2f s, ratio %.2f\n", median(ours.processor_s),
                median(reference.processor_s), median(reference.processor_s) / median(ours.processor_s));
  }
  std::filesystem::remove_all(folder);
  return 0;
}
