// Reads Splitfleet's binary split tables: which output channels of an operator the CPU computes, and which
// the GPU.
//
// C++17 alone, nothing to link, no exception and no allocation. The format is little-endian whatever
// the machine is (docs/split-table.md, version 3). A table is checked whole when it is opened: afterwards
// nothing in it can lead a lookup out of it. mapped_split_table.hpp reads a file.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

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
  // docs/split-table.md. Exact, range and default take the same time in any table; nearest looks at all
  // records of the window.
  std::optional<Decision> find(const Shape& shape, Policy policy = Policy::range,
                               std::uint32_t max_distance = kOctave) const noexcept;

 private:
  static constexpr std::size_t kHeaderBytes = 40;
  static constexpr std::size_t kRecordBytes = 144;
  static constexpr std::size_t kSlotBytes = 4;
  static constexpr std::size_t kChecksumBytes = 4;
  static constexpr std::uint32_t kVersion = 3;
  static constexpr std::uint32_t kEpilogueDistance = kOctave / 4;
  static constexpr std::uint32_t kCutMultiple = 4;
  static constexpr std::uint32_t kMostSize = 0x7FFFFFFF;
  static constexpr std::size_t kRowsWord = 9;

  // One record, in place.
  struct Record {
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
    // Where its rows or, of other operators, its width begin.
    std::uint32_t last() const noexcept { return is_range() ? rows_low() : word(kRowsWord); }
  };

  static std::uint32_t load32(const unsigned char* at) noexcept {
    return static_cast<std::uint32_t>(at[0]) | static_cast<std::uint32_t>(at[1]) << 8 |
           static_cast<std::uint32_t>(at[2]) << 16 | static_cast<std::uint32_t>(at[3]) << 24;
  }
  static double load_double(const unsigned char* at) noexcept {
    static_assert(sizeof(double) == 8 && std::numeric_limits<double>::is_iec559, "doubles are IEEE 754");
    const std::uint64_t bits = load32(at) | static_cast<std::uint64_t>(load32(at + 4)) << 32;
    double value = 0.0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  // One step of the index's hash.
  static std::uint32_t mixed(std::uint32_t value, std::uint32_t number) noexcept {
    value = (value ^ number) * 0x85EBCA6BU;
    return value ^ value >> 13;
  }

  // All of a shape but its last word, as records hold it.
  struct Layer {
    explicit Layer(const Shape& shape) noexcept;
    bool has(Record record) const noexcept {
      return std::memcmp(record.at, words, sizeof(words)) == 0 && record.type() == type &&
             record.epilogue() == epilogue;
    }

    std::uint8_t type;
    std::uint8_t epilogue;
    std::uint32_t hash = 0;
    unsigned char words[4 * kRowsWord];
  };

  Record record(std::uint32_t index) const noexcept { return {records_ + kRecordBytes * index}; }

  static std::uint32_t checksum(const unsigned char* data, std::size_t bytes) noexcept;
  static std::uint32_t octaves(std::uint32_t size) noexcept;
  static int compare_windows(Record record, const Shape& shape) noexcept;
  static bool in_order(Record first, Record second) noexcept;
  static bool is_sound(Record record) noexcept;
  static std::uint32_t distance(Record record, const Shape& shape) noexcept;
  static Decision decision(Record record, const Shape& shape) noexcept;

  bool is_sound() const noexcept;
  std::uint32_t find_hashed(const Layer& layer, std::uint32_t rows) const noexcept;
  std::uint32_t find_in_range(const Layer& layer, std::uint32_t rows) const noexcept;
  std::uint32_t find_nearest(const Shape& shape, std::uint32_t max_distance) const noexcept;
  Decision default_for(const Shape& shape) const noexcept;

  const unsigned char* records_ = nullptr;
  const unsigned char* slots_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t slot_count_ = 0;  // a power of two, or 0 without a table
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
  const std::uint32_t version = load32(at + 8) & 0xFFFFU;
  if (version != kVersion) return TableError::other_version;
  SplitTable found;
  found.count_ = load32(at + 12);
  found.slot_count_ = load32(at + 16);
  // No sum of these can pass 64 bits.
  std::uint64_t end = kHeaderBytes + std::uint64_t{kRecordBytes} * found.count_;
  const std::uint64_t slots_at = end;
  end += std::uint64_t{kSlotBytes} * found.slot_count_;
  const std::uint64_t names_at = end;
  for (std::size_t i = 0; i < 3; ++i) end += load32(at + 20 + 4 * i);
  if (load32(at + 8) >> 16 != kRecordBytes || end + kChecksumBytes != bytes ||
      load32(at + end) != checksum(at, static_cast<std::size_t>(end))) {
    return TableError::damaged;
  }
  found.records_ = at + kHeaderBytes;
  found.slots_ = at + slots_at;
  const char* name = reinterpret_cast<const char*>(at) + names_at;
  for (std::size_t i = 0; i < 3; ++i) {
    found.names_[i] = std::string_view(name, load32(at + 20 + 4 * i));
    name += found.names_[i].size();
  }
  if (at[32] > 1 || at[34] > 3 || load32(at + 36) != 0 || at[35] != 0) return TableError::damaged;
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
  if (shape.channels() == 0 || shape.words[kRowsWord] == 0) return std::nullopt;
  const Layer layer(shape);
  std::uint32_t index = find_hashed(layer, shape.words[kRowsWord]);
  Policy match = Policy::exact;
  if (index == count_ && policy >= Policy::range && shape.type == OperatorType::linear) {
    index = find_in_range(layer, shape.rows());
    match = Policy::range;
  }
  if (index == count_ && policy >= Policy::nearest) {
    index = find_nearest(shape, max_distance);
    match = Policy::nearest;
  }
  if (index == count_) {
    if (policy != Policy::table_default) return std::nullopt;
    return default_for(shape);
  }
  Decision found = decision(record(index), shape);
  found.match = match;
  found.record = index;
  if (match == Policy::nearest) found.distance = distance(record(index), shape);
  return found;
}

// CRC-32 as in zlib: polynomial 0xEDB88320, reflected.
inline std::uint32_t SplitTable::checksum(const unsigned char* data, std::size_t bytes) noexcept {
  std::array<std::uint32_t, 256> steps{};
  for (std::uint32_t i = 0; i < steps.size(); ++i) {
    steps[i] = i;
    for (int bit = 0; bit < 8; ++bit) steps[i] = steps[i] >> 1 ^ (steps[i] & 1U ? 0xEDB88320U : 0U);
  }
  std::uint32_t value = 0xFFFFFFFFU;
  for (std::size_t i = 0; i < bytes; ++i) value = steps[(value ^ data[i]) & 0xFFU] ^ value >> 8;
  return ~value;
}

// The top of an IEEE 754 double is its exponent and, as a straight line between powers of two, its fraction.
inline std::uint32_t SplitTable::octaves(std::uint32_t size) noexcept {
  if (size == 0) return 0;
  const double value = size;
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<std::uint32_t>(bits >> 44) - (1023U << 8);
}

inline SplitTable::Layer::Layer(const Shape& shape) noexcept
    : type(static_cast<std::uint8_t>(shape.type)), epilogue(static_cast<std::uint8_t>(shape.epilogue)) {
  hash = mixed(mixed(0, type), epilogue);
  for (std::size_t i = 0; i < kRowsWord; ++i) {
    hash = mixed(hash, shape.words[i]);
    for (std::size_t byte = 0; byte < 4; ++byte)
      words[4 * i + byte] = static_cast<unsigned char>(shape.words[i] >> 8 * byte);
  }
}

// The record of the layer with these rows or, with 0, its first range; `count_` for none.
inline std::uint32_t SplitTable::find_hashed(const Layer& layer, std::uint32_t rows) const noexcept {
  std::uint32_t slot = mixed(layer.hash, rows);
  for (std::uint32_t looks = 0; looks < slot_count_; ++looks, ++slot) {
    const std::uint32_t number = load32(slots_ + kSlotBytes * (slot & (slot_count_ - 1)));
    if (number == 0) break;
    const Record found = record(number - 1);
    if (!layer.has(found)) continue;
    if (rows == 0 ? found.is_range() : !found.is_range() && found.word(kRowsWord) == rows) return number - 1;
  }
  return count_;
}

inline std::uint32_t SplitTable::find_in_range(const Layer& layer, std::uint32_t rows) const noexcept {
  const std::uint32_t first = find_hashed(layer, 0);
  if (first == count_) return count_;
  const auto begins_before = [&](std::uint32_t index) {
    const Record candidate = record(index);
    return candidate.is_range() && candidate.rows_low() <= rows && layer.has(candidate);
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

inline std::uint32_t SplitTable::find_nearest(const Shape& shape, std::uint32_t max_distance) const noexcept {
  std::uint32_t first = 0;
  for (std::uint32_t left = count_; left > 0;) {
    const std::uint32_t half = left / 2;
    if (compare_windows(record(first + half), shape) < 0) {
      first += half + 1;
      left -= half + 1;
    } else {
      left = half;
    }
  }
  std::uint32_t nearest = count_;
  std::uint64_t least = std::uint64_t{max_distance} + 1;
  for (; first < count_ && compare_windows(record(first), shape) == 0; ++first) {
    const std::uint32_t apart = distance(record(first), shape);
    if (apart >= least) continue;
    least = apart;
    nearest = first;
  }
  return nearest;
}

// Type and window of the record, less or greater than the shape's.
inline int SplitTable::compare_windows(Record record, const Shape& shape) noexcept {
  const auto type = static_cast<std::uint8_t>(shape.type);
  if (record.type() != type) return record.type() < type ? -1 : 1;
  for (std::size_t i = 0; i < 6; ++i) {
    if (record.word(i) != shape.words[i]) return record.word(i) < shape.words[i] ? -1 : 1;
  }
  return 0;
}

inline std::uint32_t SplitTable::distance(Record record, const Shape& shape) noexcept {
  const auto other = static_cast<std::uint8_t>(shape.epilogue);
  std::uint32_t sum = record.epilogue() != other ? kEpilogueDistance : 0;
  for (std::size_t i = 6; i < shape.words.size(); ++i) {
    const bool is_range = i == kRowsWord && record.is_range();
    const std::uint32_t low = octaves(is_range ? record.rows_low() : record.word(i));
    const std::uint32_t high = is_range ? octaves(record.rows_high()) : low;
    const std::uint32_t size = octaves(shape.words[i]);
    if (size < low) sum += low - size;
    if (size > high) sum += size - high;
  }
  return sum;
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
  if (found.processor == Processor::split && channels <= kCutMultiple) {
    const bool on_cpu = found.cpu_us <= found.gpu_us;
    found.processor = on_cpu ? Processor::cpu : Processor::gpu;
    found.threads = on_cpu ? record.cpu_threads() : std::uint8_t{0};
    found.join = on_cpu ? Join::none : static_cast<Join>(record.gpu_join());
  }
  if (found.processor != Processor::split) {
    found.cut = found.processor == Processor::cpu ? channels : 0;
    return found;
  }
  const std::uint64_t of = record.word(7);
  const std::uint64_t most = (channels - 1) / kCutMultiple;
  std::uint64_t fours = (std::uint64_t{record.cut()} * channels + 2 * of) / (kCutMultiple * of);
  if (fours < 1) fours = 1;
  if (fours > most) fours = most;
  found.cut = static_cast<std::uint32_t>(kCutMultiple * fours);
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
  if (slot_count_ < 2 || (slot_count_ & (slot_count_ - 1)) != 0 || slot_count_ / 2 < count_) return false;
  for (std::uint32_t i = 0; i < slot_count_; ++i) {
    if (load32(slots_ + kSlotBytes * i) > count_) return false;
  }
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (!is_sound(record(i)) || (i > 0 && !in_order(record(i - 1), record(i)))) return false;
  }
  const bool on_cpu = default_processor_ == Processor::cpu;
  return on_cpu == (default_threads_ > 0) && on_cpu == (default_join_ == Join::none);
}

inline bool SplitTable::is_sound(Record record) noexcept {
  for (std::size_t i = 0; i < 10; ++i) {
    if (record.word(i) > kMostSize) return false;
  }
  for (std::size_t i = 0; i < 5; ++i) {
    const double time_us = load_double(record.at + 72 + 8 * i);
    if (!std::isfinite(time_us) || time_us <= 0.0) return false;
  }
  const std::uint32_t low = record.rows_low();
  const std::uint32_t high = record.rows_high();
  const std::uint32_t rows = record.word(kRowsWord);
  const bool is_ranged = record.type() == 0 && 1 <= low && low <= rows && rows <= high && high <= kMostSize;
  if (!(low == 0 && high == 0) && !is_ranged) return false;
  if (record.type() > 3 || record.epilogue() > 4 || record.join() > 3 || record.cpu_threads() == 0)
    return false;
  if (record.gpu_join() < 1 || record.gpu_join() > 3) return false;
  const std::uint32_t channels = record.word(7);
  const std::uint32_t cut = record.cut();
  switch (record.processor()) {
    case 0:
      return cut == channels && record.join() == 0 && record.threads() == record.cpu_threads();
    case 1:
      return cut == 0 && record.join() == record.gpu_join() && record.threads() == 0;
    case 2:
      return 0 < cut && cut < channels && cut % kCutMultiple == 0 && record.join() > 0 &&
             record.threads() > 0;
    default:
      return false;
  }
}

// Whether `second` may stand behind `first`.
inline bool SplitTable::in_order(Record first, Record second) noexcept {
  if (first.type() != second.type()) return first.type() < second.type();
  for (std::size_t i = 0; i < kRowsWord; ++i) {
    if (first.word(i) != second.word(i)) return first.word(i) < second.word(i);
  }
  if (first.epilogue() != second.epilogue()) return first.epilogue() < second.epilogue();
  if (first.is_range() != second.is_range()) return second.is_range();
  return (first.is_range() ? first.rows_high() : first.last()) < second.last();
}

}  // namespace splitfleet::runtime
