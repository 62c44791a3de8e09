// The hashes by which a binary split table finds shapes (docs/split-table.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "split_record.hpp"
#include "split_types.hpp"

namespace splitfleet::runtime::detail {

constexpr std::size_t kWindowWords = 6;

constexpr std::size_t kHashTerms = 12;  // the type, the epilogue, and ten words

constexpr std::array<std::uint64_t, kHashTerms> powers_of(std::uint64_t base) noexcept {
  std::array<std::uint64_t, kHashTerms> powers{};
  std::uint64_t power = 1;
  for (std::uint64_t& each : powers) each = power *= base;
  return powers;
}

// Of a shape's window, of all but its last word, and of all of it. They share one sum of products, none of
// which waits for another.
class ShapeHash {
 public:
  explicit ShapeHash(const Shape& shape) noexcept {
    std::uint64_t sum = kFactors[0] * static_cast<std::uint64_t>(shape.type);
    for (std::size_t i = 0; i < kWindowWords; ++i) sum += kFactors[1 + i] * shape.words[i];
    window_ = upper(sum);
    sum += kFactors[1 + kWindowWords] * static_cast<std::uint64_t>(shape.epilogue);
    for (std::size_t i = kWindowWords; i < Record::kRowsWord; ++i) sum += kFactors[2 + i] * shape.words[i];
    layer_ = upper(sum);
    whole_ = upper(sum + kFactors[2 + Record::kRowsWord] * shape.words[Record::kRowsWord]);
  }

  std::uint32_t window() const noexcept { return window_; }
  std::uint32_t layer() const noexcept { return layer_; }
  std::uint32_t whole() const noexcept { return whole_; }

 private:
  static constexpr std::array<std::uint64_t, kHashTerms> kFactors = powers_of(0x9E3779B97F4A7C15U);

  static std::uint32_t upper(std::uint64_t sum) noexcept { return static_cast<std::uint32_t>(sum >> 32); }

  std::uint32_t window_;
  std::uint32_t layer_;
  std::uint32_t whole_;
};

}  // namespace splitfleet::runtime::detail
