// How a runtime uses a split table: open it once, look each layer up once, when the model is loaded.
//
//   runtime-example TABLE ROWS IN_FEATURES OUT_FEATURES
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "splitfleet/mapped_split_table.hpp"

namespace sf = splitfleet::runtime;

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: %s TABLE ROWS IN_FEATURES OUT_FEATURES\n", arguments[0]);
    return 2;
  }
  sf::MappedSplitTable file;
  if (const sf::TableError error = file.open(arguments[1]); error != sf::TableError::none) {
    std::fprintf(stderr, "%s: %s\n", arguments[1], sf::error_text(error));
    return 1;
  }
  const auto size = [&](int i) {
    return static_cast<std::uint32_t>(std::strtoul(arguments[i], nullptr, 10));
  };
  const sf::Shape layer = sf::Shape::linear(size(2), size(3), size(4));
  const auto decision = file.table().find(layer, sf::Policy::table_default);
  if (!decision) {
    std::fprintf(stderr, "a layer without output features cannot be run\n");
    return 1;
  }
  static constexpr const char* kMatches[] = {"exact", "range", "nearest", "default"};
  static constexpr const char* kJoins[] = {"nothing", "svm_poll", "event_wait", "finish"};
  std::printf(
      "%s match, distance %u: the CPU computes channels 0 to %u on %d threads, the GPU %u to %u; joined by "
      "%s\n",
      kMatches[static_cast<int>(decision->match)], decision->distance, decision->cut, decision->threads,
      decision->cut, layer.channels(), kJoins[static_cast<int>(decision->join)]);
  return 0;
}
