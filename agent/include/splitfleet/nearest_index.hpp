// Finds the nearest shape of a binary split table: for each window, boxes of sixteen around boxes of sixteen
// around shapes (docs/split-table.md).
//
// Distances to sixteen boxes or shapes are computed at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "lanes.hpp"
#include "shape_hash.hpp"
#include "split_bytes.hpp"
#include "split_record.hpp"
#include "split_types.hpp"

namespace splitfleet::runtime::detail {

class NearestIndex {
 public:
  struct Found {
    std::uint32_t record = Decision::kNoRecord;
    std::uint32_t distance = 0;
  };

  static std::uint64_t bytes(std::uint32_t windows, std::uint32_t records, std::uint32_t rows) noexcept {
    return std::uint64_t{kWindowBytes} * windows + std::uint64_t{kPlaceBytes} * records +
           std::uint64_t{Lanes::kBytes} * rows;
  }

  NearestIndex() = default;
  NearestIndex(const unsigned char* at, std::uint32_t windows, std::uint32_t records,
               std::uint32_t rows) noexcept
      : windows_(at),
        places_(at + kWindowBytes * windows),
        rows_(places_ + kPlaceBytes * records),
        window_count_(windows),
        record_count_(records),
        row_count_(rows) {}

  // Whether the index is that of these records, which are in order: afterwards nothing in it can lead a
  // search out of it.
  bool is_sound(const unsigned char* records) const noexcept;

  // Whether shapes of this window are of the same type, kernel, stride, padding and mode.
  bool is_window_of(std::uint32_t index, const Shape& shape) const noexcept;
  // Of a window, the nearest record that is no further than `max_distance`, of equally near ones the first.
  Found find(std::uint32_t window_index, const Shape& shape, std::uint32_t max_distance) const noexcept;

 private:
  static constexpr std::size_t kSizes = 4;
  static constexpr std::size_t kWindowBytes = 40;
  static constexpr std::size_t kPlaceBytes = 4;
  // Of a block of shapes: their first three sizes, where the last one begins and ends, their epilogues. Of a
  // block of boxes: where the sizes begin, where they end, and the epilogues.
  static constexpr std::size_t kShapeRows = kSizes + 2;
  static constexpr std::size_t kBoxRows = 2 * kSizes + 1;
  static constexpr std::size_t kMostLevels = 8;       // 16 to the power of 8 records
  static constexpr std::uint32_t kMostTopBlocks = 4;  // of boxes; of shapes a single one
  static constexpr std::int16_t kEpilogueDistance = 64;

  struct Window {
    const unsigned char* at;

    std::uint32_t type() const noexcept { return load32(at); }
    std::uint32_t word(std::size_t index) const noexcept { return load32(at + 4 + 4 * index); }
    std::uint32_t first_record() const noexcept { return load32(at + 28); }
    std::uint32_t records() const noexcept { return load32(at + 32); }
    std::uint32_t first_row() const noexcept { return load32(at + 36); }
  };

  // Of one window: level 0 are its shapes, the others boxes around blocks of the level below.
  struct Levels {
    explicit Levels(Window window) noexcept;
    std::size_t row_of(std::size_t level, std::uint32_t block) const noexcept {
      return first_row[level] + block * (level == 0 ? kShapeRows : kBoxRows);
    }
    // Behind the last row.
    std::size_t end() const noexcept { return row_of(top, blocks_for(items[top])); }

    std::size_t top = 0;  // the level that is looked at whole
    std::array<std::uint32_t, kMostLevels + 1> items{};
    std::array<std::size_t, kMostLevels + 1> first_row{};
  };

  // What is searched for, and what was found.
  struct Search {
    Search(Window window, const Shape& shape, std::uint32_t max_distance) noexcept;
    std::uint32_t least() const noexcept { return static_cast<std::uint32_t>(best >> 32); }
    // The furthest that is of interest.
    std::int16_t limit() const noexcept {
      return static_cast<std::int16_t>(std::min<std::uint32_t>(least(), Lanes::kMost - 1));
    }

    Levels levels;
    Lanes sizes[kSizes];
    std::int16_t epilogue;
    std::uint32_t first_record;
    std::uint64_t best;  // distance, then record
  };

  static std::uint32_t blocks_for(std::uint32_t items) noexcept {
    return static_cast<std::uint32_t>(items / kLanes + (items % kLanes != 0));
  }

  static Lanes lanes_of(std::uint32_t size) noexcept {
    return Lanes::all(static_cast<std::int16_t>(octaves(size)));
  }
  // The row of a block of shapes that corresponds to one of a block of boxes.
  static std::size_t shape_row(std::size_t box_row) noexcept {
    return box_row < kSizes ? box_row : box_row < 2 * kSizes - 1 ? box_row - kSizes : box_row - kSizes + 1;
  }
  Window window(std::uint32_t index) const noexcept { return {windows_ + kWindowBytes * index}; }
  std::uint32_t place(std::uint32_t index) const noexcept { return load32(places_ + kPlaceBytes * index); }
  Lanes lanes(std::size_t row) const noexcept { return Lanes::load(rows_ + Lanes::kBytes * row); }
  std::int16_t number(std::size_t row, std::size_t lane) const noexcept {
    return load16(rows_ + Lanes::kBytes * row + 2 * lane);
  }

  Lanes to_shapes(const Search& search, std::size_t row) const noexcept;
  Lanes to_boxes(const Search& search, std::size_t row) const noexcept;
  void visit_shapes(Search& search, std::uint32_t block) const noexcept;
  void visit_boxes(Search& search, std::size_t level, std::uint32_t block) const noexcept;
  void visit_top(Search& search) const noexcept;
  void visit(Search& search, std::size_t level, std::uint32_t block) const noexcept;
  void visit_all(Search& search, std::size_t level, std::uint32_t first, std::uint32_t lanes) const noexcept;
  bool holds(Window window, const Levels& levels, const unsigned char* records) const noexcept;
  bool has_end(const Levels& levels, std::size_t level) const noexcept;
  bool are_surrounded(const Levels& levels, std::size_t level) const noexcept;

  const unsigned char* windows_ = nullptr;
  const unsigned char* places_ = nullptr;
  const unsigned char* rows_ = nullptr;
  std::uint32_t window_count_ = 0;
  std::uint32_t record_count_ = 0;
  std::uint32_t row_count_ = 0;
};

inline NearestIndex::Levels::Levels(Window window) noexcept {
  items[0] = window.records();
  first_row[0] = window.first_row();
  for (; blocks_for(items[top]) > (top == 0 ? 1 : kMostTopBlocks); ++top) {
    items[top + 1] = blocks_for(items[top]);
    first_row[top + 1] = row_of(top, items[top + 1]);
  }
}

inline NearestIndex::Search::Search(Window window, const Shape& shape, std::uint32_t max_distance) noexcept
    : levels(window),
      sizes{lanes_of(shape.words[kWindowWords]), lanes_of(shape.words[kWindowWords + 1]),
            lanes_of(shape.words[kWindowWords + 2]), lanes_of(shape.words[kWindowWords + 3])},
      epilogue(static_cast<std::int16_t>(1 << static_cast<int>(shape.epilogue))),
      first_record(window.first_record()),
      best(std::uint64_t{max_distance} << 32 | Decision::kNoRecord) {}

inline NearestIndex::Found NearestIndex::find(std::uint32_t window_index, const Shape& shape,
                                              std::uint32_t max_distance) const noexcept {
  Search search(window(window_index), shape, max_distance);
  if (search.levels.top == 0) {
    visit_shapes(search, 0);
  } else {
    visit_top(search);
  }
  return {static_cast<std::uint32_t>(search.best), search.least()};
}

inline bool NearestIndex::is_window_of(std::uint32_t index, const Shape& shape) const noexcept {
  const Window found = window(index);
  std::uint32_t apart = found.type() ^ static_cast<std::uint32_t>(shape.type);
  for (std::size_t i = 0; i < kWindowWords; ++i) apart |= found.word(i) ^ shape.words[i];
  return apart == 0;
}

// From what is searched for to each shape of a block. The sums are in pairs, so that none waits for all that
// are before it.
inline Lanes NearestIndex::to_shapes(const Search& search, std::size_t row) const noexcept {
  const auto along = [&](std::size_t size, std::size_t high) {
    const Lanes& at = search.sizes[size];
    return lanes(row + size).beyond(at) + at.beyond(lanes(row + high));
  };
  return (along(0, 0) + along(1, 1)) + (along(2, 2) + along(3, kSizes)) +
         lanes(row + kShapeRows - 1).unless(search.epilogue, kEpilogueDistance);
}

// At least as near as whatever lies in each box of a block.
inline Lanes NearestIndex::to_boxes(const Search& search, std::size_t row) const noexcept {
  const auto along = [&](std::size_t size) {
    const Lanes& at = search.sizes[size];
    return lanes(row + size).beyond(at) + at.beyond(lanes(row + kSizes + size));
  };
  return (along(0) + along(1)) + (along(2) + along(3)) +
         lanes(row + kBoxRows - 1).unless(search.epilogue, kEpilogueDistance);
}

inline void NearestIndex::visit_shapes(Search& search, std::uint32_t block) const noexcept {
  const Lanes apart = to_shapes(search, search.levels.row_of(0, block));
  const std::int16_t nearest = apart.least();
  if (nearest > search.limit()) return;
  const std::uint64_t distance = static_cast<std::uint64_t>(nearest) << 32;
  const auto first = static_cast<std::uint32_t>(search.first_record + kLanes * block);
  for (std::uint32_t lanes = apart.at_most(nearest); lanes != 0; lanes &= lanes - 1)
    search.best = std::min(search.best, distance | place(first + first_lane(lanes)));
}

// Looks into the nearest box of a block, and then into all that may hold what is as near as what was found
// there. Few do, and as none of these looks waits for another, their order does not matter.
inline void NearestIndex::visit_boxes(Search& search, std::size_t level, std::uint32_t block) const noexcept {
  const Lanes apart = to_boxes(search, search.levels.row_of(level, block));
  const std::int16_t nearest = apart.least();
  if (nearest > search.limit()) return;
  const std::uint32_t lane = first_lane(apart.at_most(nearest));
  const auto first = static_cast<std::uint32_t>(kLanes * block);
  visit(search, level - 1, first + lane);
  visit_all(search, level - 1, first, apart.at_most(search.limit()) & ~(1U << lane));
}

// The same for all blocks of the uppermost level at once.
inline void NearestIndex::visit_top(Search& search) const noexcept {
  const std::size_t level = search.levels.top;
  const std::uint32_t blocks = blocks_for(search.levels.items[level]);
  const Lanes nowhere = Lanes::all(Lanes::kMost);
  std::array<Lanes, kMostTopBlocks> apart = {nowhere, nowhere, nowhere, nowhere};
  std::int16_t nearest = Lanes::kMost;
  std::uint32_t at = 0;
  for (std::uint32_t block = 0; block < blocks; ++block) {
    apart[block] = to_boxes(search, search.levels.row_of(level, block));
    const std::int16_t found = apart[block].least();
    if (found < nearest) at = block;
    nearest = std::min(nearest, found);
  }
  if (nearest > search.limit()) return;
  const std::uint32_t lane = first_lane(apart[at].at_most(nearest));
  visit(search, level - 1, static_cast<std::uint32_t>(kLanes * at + lane));
  for (std::uint32_t block = 0; block < blocks; ++block) {
    const std::uint32_t seen = block == at ? 1U << lane : 0U;
    const auto first = static_cast<std::uint32_t>(kLanes * block);
    visit_all(search, level - 1, first, apart[block].at_most(search.limit()) & ~seen);
  }
}

inline void NearestIndex::visit(Search& search, std::size_t level, std::uint32_t block) const noexcept {
  if (level == 0) {
    visit_shapes(search, block);
  } else {
    visit_boxes(search, level, block);
  }
}

inline void NearestIndex::visit_all(Search& search, std::size_t level, std::uint32_t first,
                                    std::uint32_t lanes) const noexcept {
  for (; lanes != 0; lanes &= lanes - 1) visit(search, level, first + first_lane(lanes));
}

inline bool NearestIndex::is_sound(const unsigned char* records) const noexcept {
  std::uint64_t record = 0;
  std::size_t next_row = 0;
  for (std::uint32_t i = 0; i < window_count_; ++i) {
    const Window each = window(i);
    if (each.first_record() != record || each.records() == 0 || each.records() > record_count_ - record ||
        each.first_row() != next_row) {
      return false;
    }
    const Levels levels(each);
    next_row = levels.end();
    if (next_row > row_count_ || !holds(each, levels, records)) return false;
    for (std::size_t level = 0; level <= levels.top; ++level) {
      if (!has_end(levels, level) || (level < levels.top && !are_surrounded(levels, level))) return false;
    }
    record += each.records();
  }
  return record == record_count_ && next_row == row_count_;
}

// Whether all records of the window, and no others, are of its kind, and whether their places say where they
// lie.
inline bool NearestIndex::holds(Window window, const Levels& levels,
                                const unsigned char* records) const noexcept {
  const auto is_inside = [&](Record record) {
    bool is_same = record.type() == window.type();
    for (std::size_t i = 0; i < kWindowWords; ++i) is_same = is_same && record.word(i) == window.word(i);
    return is_same;
  };
  const std::uint32_t first = window.first_record();
  if (first > 0 && is_inside({records + Record::kBytes * (first - 1)})) return false;
  for (std::uint32_t i = 0; i < window.records(); ++i) {
    if (!is_inside({records + Record::kBytes * (first + i)})) return false;
    const std::uint32_t at = place(first + i);
    if (at < first || at - first >= window.records()) return false;
    const Record record{records + Record::kBytes * at};
    const std::size_t row = levels.row_of(0, static_cast<std::uint32_t>(i / kLanes));
    const std::size_t lane = i % kLanes;
    for (std::size_t size = 0; size + 1 < kSizes; ++size) {
      if (number(row + size, lane) != static_cast<std::int16_t>(octaves(record.word(kWindowWords + size))))
        return false;
    }
    if (number(row + kSizes - 1, lane) != static_cast<std::int16_t>(octaves(record.last_low())) ||
        number(row + kSizes, lane) != static_cast<std::int16_t>(octaves(record.last_high())) ||
        number(row + kShapeRows - 1, lane) != 1 << record.epilogue()) {
      return false;
    }
  }
  return true;
}

// Whether the places behind a level's last item are further from everything than any item.
inline bool NearestIndex::has_end(const Levels& levels, std::size_t level) const noexcept {
  const std::size_t rows = level == 0 ? kShapeRows : kBoxRows;
  for (std::uint32_t i = levels.items[level]; i % kLanes != 0; ++i) {
    const std::size_t first = levels.row_of(level, static_cast<std::uint32_t>(i / kLanes));
    for (std::size_t row = 0; row + 1 < rows; ++row) {
      if (number(first + row, i % kLanes) != Lanes::kMost) return false;
    }
  }
  return true;
}

// Whether the boxes of the level above lie close around the items of this level's blocks.
inline bool NearestIndex::are_surrounded(const Levels& levels, std::size_t level) const noexcept {
  for (std::uint32_t i = 0; i < levels.items[level + 1]; ++i) {
    const std::size_t first = levels.row_of(level, i);
    const std::size_t box = levels.row_of(level + 1, static_cast<std::uint32_t>(i / kLanes));
    const std::size_t count = std::min<std::size_t>(kLanes, levels.items[level] - kLanes * i);
    for (std::size_t row = 0; row < kBoxRows; ++row) {
      const std::size_t inner = first + (level == 0 ? shape_row(row) : row);
      std::int16_t around = number(inner, 0);
      for (std::size_t lane = 1; lane < count; ++lane) {
        const std::int16_t item = number(inner, lane);
        around = row < kSizes       ? std::min(around, item)
                 : row < 2 * kSizes ? std::max(around, item)
                                    : static_cast<std::int16_t>(around | item);
      }
      if (number(box + row, i % kLanes) != around) return false;
    }
  }
  return true;
}

}  // namespace splitfleet::runtime::detail
