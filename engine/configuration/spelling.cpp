#include "engine/configuration/spelling.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace slotkeeper {
namespace {

constexpr std::size_t kDistanceMax = 3;
constexpr std::size_t kWordMaxBytes = 64;

// Levenshtein distance.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (left[i] == right[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string_view> nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > kWordMaxBytes) return std::nullopt;
  std::optional<std::string_view> best;
  std::size_t best_distance = kDistanceMax + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t d = distance(word, candidate);
    // A short word that shares little with the candidate is no misspelling of it.
    if (d < best_distance && d <= std::max(word.size(), candidate.size()) / 2) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

}  // namespace slotkeeper
