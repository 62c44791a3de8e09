// Reads Splitfleet's binary split tables: which output channels of an operator the CPU computes, and which
// the GPU.
//
// C++17 alone, nothing to link, no exception and no allocation. The format is little-endian whatever
// the machine is (docs/split-table.md, version 5). A table is checked whole when it is opened: afterwards
// nothing in it can lead a lookup out of it. mapped_split_table.hpp reads a file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "nearest_index.hpp"
#include "shape_hash.hpp"
#include "split_bytes.hpp"
#include "split_record.hpp"
#include "split_types.hpp"

namespace splitfleet::runtime {

class SplitTable {
 public:
  static constexpr std::uint32_t kOctave = 256;  // a distance: one doubling of one size

  // A table without records; its default is all-CPU with one thread.
  SplitTable() = default;

  // Makes `table` a view of `bytes` bytes at `data`, which must stay as they are while it is used. `table` is
  // changed only where the answer is TableError::none.
  static TableError open(const void* data, std::size_t bytes, SplitTable& table) noexcept;

  std::uint32_t size() const noexcept { return count_; }
  std::string_view device_class() const noexcept { return names_[0]; }
  std::string_view backend() const noexcept { return names_[1]; }
  std::string_view precision() const noexcept { return names_[2]; }

  // How to run the operator; nothing where the table does not say. The rules are those of
  // docs/split-table.md.
  std::optional<Decision> find(const Shape& shape, Policy policy = Policy::range,
                               std::uint32_t max_distance = kOctave) const noexcept;

 private:
  using Record = detail::Record;

  static constexpr std::size_t kHeaderBytes = 48;
  static constexpr std::size_t kSlotBytes = 8;
  static constexpr std::size_t kChecksumBytes = 4;
  static constexpr std::uint32_t kVersion = 5;

  struct Slot {
    const unsigned char* at;

    std::uint32_t hash() const noexcept { return detail::load32(at); }
    std::uint32_t number() const noexcept { return detail::load32(at + 4); }
  };

  Slot slot_at(std::uint32_t hash) const noexcept {
    return {slots_ + kSlotBytes * (hash & (slot_count_ - 1))};
  }
  Record record(std::uint32_t index) const noexcept { return {records_ + Record::kBytes * index}; }

  static Decision decision(Record record, const Shape& shape) noexcept;

  // Whether the record is of this shape, its last word apart.
  static bool is_of_layer(Record record, const Shape& shape) noexcept;

  bool is_sound() const noexcept;
  std::uint32_t find_hashed(std::uint32_t hash, const Shape& shape, std::uint32_t rows) const noexcept;
  std::uint32_t find_in_range(std::uint32_t hash, const Shape& shape) const noexcept;
  detail::NearestIndex::Found find_nearest(std::uint32_t hash, const Shape& shape,
                                           std::uint32_t max_distance) const noexcept;
  Decision default_for(const Shape& shape) const noexcept;

  const unsigned char* records_ = nullptr;
  const unsigned char* slots_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t slot_count_ = 0;  // a power of two, or 0 without a table
  std::uint32_t window_count_ = 0;
  detail::NearestIndex nearest_;
  Processor default_processor_ = Processor::cpu;
  std::uint8_t default_threads_ = 1;
  Join default_join_ = Join::none;
  std::array<std::string_view, 3> names_;
};

inline TableError SplitTable::open(const void* data, std::size_t bytes, SplitTable& table) noexcept {
  const auto* at = static_cast<const unsigned char*>(data);
  constexpr unsigned char kMagic[8] = {'S', 'F', 'S', 'P', 'L', 'I', 'T', 0};
  if (at == nullptr || bytes < kHeaderBytes + kChecksumBytes || std::memcmp(at, kMagic, sizeof(kMagic)) != 0)
    return TableError::no_table;
  const std::uint32_t version = detail::load32(at + 8) & 0xFFFFU;
  if (version != kVersion) return TableError::other_version;
  SplitTable found;
  found.count_ = detail::load32(at + 12);
  found.slot_count_ = detail::load32(at + 16);
  // No sum of these can pass 64 bits.
  std::uint64_t end = kHeaderBytes + std::uint64_t{Record::kBytes} * found.count_;
  const std::uint64_t slots_at = end;
  end += std::uint64_t{kSlotBytes} * found.slot_count_;
  const std::uint64_t nearest_at = end;
  const std::uint32_t windows = detail::load32(at + 36);
  const std::uint32_t rows = detail::load32(at + 40);
  end += detail::NearestIndex::bytes(windows, found.count_, rows);
  const std::uint64_t names_at = end;
  for (std::size_t i = 0; i < 3; ++i) end += detail::load32(at + 20 + 4 * i);
  if (detail::load32(at + 8) >> 16 != Record::kBytes || end + kChecksumBytes != bytes ||
      detail::load32(at + end) != detail::checksum(at, static_cast<std::size_t>(end))) {
    return TableError::damaged;
  }
  found.records_ = at + kHeaderBytes;
  found.slots_ = at + slots_at;
  found.window_count_ = windows;
  found.nearest_ = detail::NearestIndex(at + nearest_at, windows, found.count_, rows);
  const char* name = reinterpret_cast<const char*>(at) + names_at;
  for (std::size_t i = 0; i < 3; ++i) {
    found.names_[i] = std::string_view(name, detail::load32(at + 20 + 4 * i));
    name += found.names_[i].size();
  }
  if (at[32] > 1 || at[34] > 3 || at[35] != 0 || detail::load32(at + 44) != 0) return TableError::damaged;
  found.default_processor_ = static_cast<Processor>(at[32]);
  found.default_threads_ = at[33];
  found.default_join_ = static_cast<Join>(at[34]);
  if (!found.is_sound()) return TableError::damaged;
  table = found;
  return TableError::none;
}

inline std::optional<Decision> SplitTable::find(const Shape& shape, Policy policy,
                                                std::uint32_t max_distance) const noexcept {
  // No operator has sizes of 0; in the index such rows stand for ranges.
  if (shape.channels() == 0 || shape.words[Record::kRowsWord] == 0) return std::nullopt;
  const detail::ShapeHash hash(shape);
  std::uint32_t index = find_hashed(hash.whole(), shape, shape.words[Record::kRowsWord]);
  Policy match = Policy::exact;
  if (index == count_ && policy >= Policy::range && shape.type == OperatorType::linear) {
    index = find_in_range(hash.layer(), shape);
    match = Policy::range;
  }
  std::uint32_t distance = 0;
  if (index == count_ && policy >= Policy::nearest) {
    const detail::NearestIndex::Found near = find_nearest(hash.window(), shape, max_distance);
    if (near.record != Decision::kNoRecord) {
      index = near.record;
      distance = near.distance;
      match = Policy::nearest;
    }
  }
  if (index == count_) {
    if (policy != Policy::table_default) return std::nullopt;
    return default_for(shape);
  }
  Decision found = decision(record(index), shape);
  found.match = match;
  found.record = index;
  found.distance = distance;
  return found;
}

inline bool SplitTable::is_of_layer(Record record, const Shape& shape) noexcept {
  // Without branches: what has the same hash is the same but for an accident.
  std::uint32_t apart = (record.type() ^ static_cast<std::uint32_t>(shape.type)) |
                        (record.epilogue() ^ static_cast<std::uint32_t>(shape.epilogue));
  for (std::size_t i = 0; i < Record::kRowsWord; ++i) apart |= record.word(i) ^ shape.words[i];
  return apart == 0;
}

// The record of the layer with these rows or, with 0, its first range; `count_` for none.
inline std::uint32_t SplitTable::find_hashed(std::uint32_t hash, const Shape& shape,
                                             std::uint32_t rows) const noexcept {
  for (std::uint32_t looks = 0; looks < slot_count_; ++looks) {
    const Slot slot = slot_at(hash + looks);
    const std::uint32_t number = slot.number();
    if (number == 0) break;
    if (slot.hash() != hash || number > count_) continue;
    const Record found = record(number - 1);
    if (!is_of_layer(found, shape)) continue;
    if (rows == 0 ? found.is_range() : !found.is_range() && found.word(Record::kRowsWord) == rows)
      return number - 1;
  }
  return count_;
}

inline std::uint32_t SplitTable::find_in_range(std::uint32_t hash, const Shape& shape) const noexcept {
  const std::uint32_t first = find_hashed(hash, shape, 0);
  if (first == count_) return count_;
  const std::uint32_t rows = shape.rows();
  const auto begins_before = [&](std::uint32_t index) {
    const Record candidate = record(index);
    return candidate.is_range() && candidate.rows_low() <= rows && is_of_layer(candidate, shape);
  };
  // Strides that double, then halve: the last range of the layer that does not begin behind the rows.
  std::uint32_t index = first;
  std::uint32_t stride = 1;
  for (; stride < count_ - index && begins_before(index + stride); stride *= 2) index += stride;
  for (stride /= 2; stride > 0; stride /= 2) {
    if (stride < count_ - index && begins_before(index + stride)) index += stride;
  }
  const Record found = record(index);
  return found.rows_low() <= rows && rows <= found.rows_high() ? index : count_;
}

inline detail::NearestIndex::Found SplitTable::find_nearest(std::uint32_t hash, const Shape& shape,
                                                            std::uint32_t max_distance) const noexcept {
  for (std::uint32_t looks = 0; looks < slot_count_; ++looks) {
    const Slot slot = slot_at(hash + looks);
    const std::uint32_t number = slot.number();
    if (number == 0) break;
    if (slot.hash() == hash && number > count_ && nearest_.is_window_of(number - count_ - 1, shape))
      return nearest_.find(number - count_ - 1, shape, max_distance);
  }
  return {};
}

inline Decision SplitTable::decision(Record record, const Shape& shape) noexcept {
  Decision found;
  found.processor = static_cast<Processor>(record.processor());
  found.threads = record.threads();
  found.join = static_cast<Join>(record.join());
  found.predicted_us = record.predicted_us();
  found.cpu_us = record.cpu_us();
  found.gpu_us = record.gpu_us();
  const std::uint32_t channels = shape.channels();
  if (found.processor == Processor::split && channels <= Record::kCutMultiple) {
    const bool on_cpu = found.cpu_us <= found.gpu_us;
    found.processor = on_cpu ? Processor::cpu : Processor::gpu;
    found.threads = on_cpu ? record.cpu_threads() : std::uint8_t{0};
    found.join = on_cpu ? Join::none : static_cast<Join>(record.gpu_join());
  }
  if (found.processor != Processor::split) {
    found.cut = found.processor == Processor::cpu ? channels : 0;
    return found;
  }
  const std::uint64_t of = record.word(Record::kChannelsWord);
  if (of == channels) {
    found.cut = record.cut();
    return found;
  }
  const std::uint64_t most = (channels - 1) / Record::kCutMultiple;
  std::uint64_t fours = (std::uint64_t{record.cut()} * channels + 2 * of) / (Record::kCutMultiple * of);
  if (fours < 1) fours = 1;
  if (fours > most) fours = most;
  found.cut = static_cast<std::uint32_t>(Record::kCutMultiple * fours);
  return found;
}

inline Decision SplitTable::default_for(const Shape& shape) const noexcept {
  Decision found;
  found.match = Policy::table_default;
  found.processor = default_processor_;
  found.threads = default_threads_;
  found.join = default_join_;
  found.cut = default_processor_ == Processor::cpu ? shape.channels() : 0;
  return found;
}

inline bool SplitTable::is_sound() const noexcept {
  // Both counts are far below 2^31: each of what they count takes bytes.
  const std::uint32_t numbers = count_ + window_count_;
  if (slot_count_ < 2 || (slot_count_ & (slot_count_ - 1)) != 0 || slot_count_ / 2 < numbers) return false;
  for (std::uint32_t i = 0; i < slot_count_; ++i) {
    if (slot_at(i).number() > numbers) return false;
  }
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (!record(i).is_sound() || (i > 0 && !detail::in_order(record(i - 1), record(i)))) return false;
  }
  if (!nearest_.is_sound(records_)) return false;
  const bool on_cpu = default_processor_ == Processor::cpu;
  return on_cpu == (default_threads_ > 0) && on_cpu == (default_join_ == Join::none);
}

}  // namespace splitfleet::runtime
