// Opens arbitrary bytes as a binary split table and, where they are one, looks up shapes that they name.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "splitfleet/split_table.hpp"

namespace sf = splitfleet::runtime;

namespace {

constexpr std::size_t kChecksumBytes = 4;
constexpr std::size_t kWords = 10;

// A mutation must not end at the checksum, so it is put right.
void mend_checksum(std::vector<std::uint8_t>& table) {
  std::uint32_t value = 0xFFFFFFFFU;
  const std::size_t body = table.size() - kChecksumBytes;
  for (std::size_t i = 0; i < body; ++i) {
    value ^= table[i];
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1U ? 0xEDB88320U : 0U);
  }
  for (std::size_t i = 0; i < kChecksumBytes; ++i)
    table[body + i] = static_cast<std::uint8_t>(~value >> 8 * i);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  sf::SplitTable table;
  (void)sf::SplitTable::open(bytes.data(), bytes.size(), table);
  if (size < kChecksumBytes) return 0;
  mend_checksum(bytes);
  if (sf::SplitTable::open(bytes.data(), bytes.size(), table) != sf::TableError::none) return 0;
  for (std::size_t at = 0; at + sizeof(std::uint32_t) * kWords <= size; at += sizeof(std::uint32_t)) {
    sf::Shape shape;
    std::memcpy(shape.words.data(), data + at, sizeof(std::uint32_t) * kWords);
    shape.type = static_cast<sf::OperatorType>(data[at] % 4);
    shape.epilogue = static_cast<sf::Epilogue>(data[at + 1] % 5);
    const auto found = table.find(shape, sf::Policy::table_default, 0xFFFFFFFFU);
    if (found && found->cut > shape.channels()) __builtin_trap();
  }
  return 0;
}
