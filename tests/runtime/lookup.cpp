// Looks shapes up as the Python reader does, and times it: a line of numbers for each shape on standard
// input.
//
//   lookup TABLE               answers each line "type epilogue word0 .. word9 policy max_distance"
//   lookup TABLE --time N      looks all lines up N times; nanoseconds per lookup of each of seven passes
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "splitfleet/mapped_split_table.hpp"

namespace sf = splitfleet::runtime;

namespace {

constexpr int kPasses = 7;

struct Query {
  sf::Shape shape;
  sf::Policy policy = sf::Policy::exact;
  std::uint32_t max_distance = 0;
};

bool read(Query& query) {
  unsigned type = 0;
  unsigned epilogue = 0;
  unsigned policy = 0;
  if (std::scanf("%u %u", &type, &epilogue) != 2) return false;
  for (std::uint32_t& word : query.shape.words) {
    if (std::scanf("%u", &word) != 1) return false;
  }
  if (std::scanf("%u %u", &policy, &query.max_distance) != 2) return false;
  query.shape.type = static_cast<sf::OperatorType>(type);
  query.shape.epilogue = static_cast<sf::Epilogue>(epilogue);
  query.policy = static_cast<sf::Policy>(policy);
  return true;
}

void answer(const sf::SplitTable& table, const Query& query) {
  const auto found = table.find(query.shape, query.policy, query.max_distance);
  if (!found) {
    std::puts("-");
    return;
  }
  const bool has_record = found->record != sf::Decision::kNoRecord;
  std::printf("%d %d %u %d %d %u %ld %.17g\n", static_cast<int>(found->match),
              static_cast<int>(found->processor), found->cut, found->threads, static_cast<int>(found->join),
              found->distance, has_record ? static_cast<long>(found->record) : -1L, found->predicted_us);
}

void time(const sf::SplitTable& table, const std::vector<Query>& queries, long repeats) {
  std::uint64_t sum = 0;  // printed, so that no lookup can be left out
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    for (long i = 0; i < repeats; ++i) {
      for (const Query& query : queries) {
        const auto found = table.find(query.shape, query.policy, query.max_distance);
        sum += found ? found->cut : 1;
      }
    }
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    std::printf("%.2f\n", taken.count() / static_cast<double>(queries.size()) / static_cast<double>(repeats));
  }
  std::fprintf(stderr, "%llu\n", static_cast<unsigned long long>(sum));
}

}  // namespace

int main(int count, char** arguments) {
  const bool is_timed = count == 4 && std::strcmp(arguments[2], "--time") == 0;
  if (count != 2 && !is_timed) return 2;
  sf::MappedSplitTable file;
  if (const sf::TableError error = file.open(arguments[1]); error != sf::TableError::none) {
    std::fprintf(stderr, "%s\n", sf::error_text(error));
    return 1;
  }
  std::vector<Query> queries;
  for (Query query; read(query);) queries.push_back(query);
  if (is_timed) {
    time(file.table(), queries, std::strtol(arguments[3], nullptr, 10));
  } else {
    for (const Query& query : queries) answer(file.table(), query);
  }
  return 0;
}
