// One record of a binary split table, in place (docs/split-table.md).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "split_bytes.hpp"

namespace splitfleet::runtime::detail {

struct Record {
  static constexpr std::size_t kBytes = 144;
  static constexpr std::size_t kChannelsWord = 7;
  static constexpr std::size_t kRowsWord = 9;
  static constexpr std::uint32_t kCutMultiple = 4;
  static constexpr std::uint32_t kMostSize = 0x7FFFFFFF;

  const unsigned char* at;

  std::uint32_t word(std::size_t index) const noexcept { return load32(at + 4 * index); }
  std::uint32_t rows_low() const noexcept { return load32(at + 40); }
  std::uint32_t rows_high() const noexcept { return load32(at + 44); }
  bool is_range() const noexcept { return rows_low() != 0; }
  std::uint32_t cut() const noexcept { return load32(at + 48); }
  std::uint8_t type() const noexcept { return at[60]; }
  std::uint8_t processor() const noexcept { return at[61]; }
  std::uint8_t threads() const noexcept { return at[62]; }
  std::uint8_t join() const noexcept { return at[63]; }
  std::uint8_t cpu_threads() const noexcept { return at[64]; }
  std::uint8_t gpu_join() const noexcept { return at[65]; }
  std::uint8_t epilogue() const noexcept { return at[67]; }
  double predicted_us() const noexcept { return load_double(at + 72); }
  double cpu_us() const noexcept { return load_double(at + 96); }
  double gpu_us() const noexcept { return load_double(at + 104); }
  // Where its rows or, of other operators, its width begin, and where they end.
  std::uint32_t last_low() const noexcept { return is_range() ? rows_low() : word(kRowsWord); }
  std::uint32_t last_high() const noexcept { return is_range() ? rows_high() : word(kRowsWord); }

  bool is_sound() const noexcept;
};

inline bool Record::is_sound() const noexcept {
  for (std::size_t i = 0; i < 10; ++i) {
    if (word(i) > kMostSize) return false;
  }
  for (std::size_t i = 0; i < 5; ++i) {
    const double time_us = load_double(at + 72 + 8 * i);
    if (!std::isfinite(time_us) || time_us <= 0.0) return false;
  }
  const std::uint32_t low = rows_low();
  const std::uint32_t high = rows_high();
  const std::uint32_t rows = word(kRowsWord);
  const bool is_ranged = type() == 0 && 1 <= low && low <= rows && rows <= high && high <= kMostSize;
  if (!(low == 0 && high == 0) && !is_ranged) return false;
  if (type() > 3 || epilogue() > 4 || join() > 3 || cpu_threads() == 0) return false;
  if (gpu_join() < 1 || gpu_join() > 3) return false;
  const std::uint32_t channels = word(kChannelsWord);
  switch (processor()) {
    case 0:
      return cut() == channels && join() == 0 && threads() == cpu_threads();
    case 1:
      return cut() == 0 && join() == gpu_join() && threads() == 0;
    case 2:
      return 0 < cut() && cut() < channels && cut() % kCutMultiple == 0 && join() > 0 && threads() > 0;
    default:
      return false;
  }
}

// Whether `second` may stand behind `first`.
inline bool in_order(Record first, Record second) noexcept {
  if (first.type() != second.type()) return first.type() < second.type();
  for (std::size_t i = 0; i < Record::kRowsWord; ++i) {
    if (first.word(i) != second.word(i)) return first.word(i) < second.word(i);
  }
  if (first.epilogue() != second.epilogue()) return first.epilogue() < second.epilogue();
  if (first.is_range() != second.is_range()) return second.is_range();
  return (first.is_range() ? first.rows_high() : first.last_low()) < second.last_low();
}

}  // namespace splitfleet::runtime::detail
