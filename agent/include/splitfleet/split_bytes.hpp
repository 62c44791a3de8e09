// Numbers in a binary split table: little-endian whatever the machine is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace splitfleet::runtime::detail {

inline std::uint32_t load32(const unsigned char* at) noexcept {
  return static_cast<std::uint32_t>(at[0]) | static_cast<std::uint32_t>(at[1]) << 8 |
         static_cast<std::uint32_t>(at[2]) << 16 | static_cast<std::uint32_t>(at[3]) << 24;
}

inline double load_double(const unsigned char* at) noexcept {
  static_assert(sizeof(double) == 8 && std::numeric_limits<double>::is_iec559, "doubles are IEEE 754");
  const std::uint64_t bits = load32(at) | static_cast<std::uint64_t>(load32(at + 4)) << 32;
  double value = 0.0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline std::int16_t load16(const unsigned char* at) noexcept {
  return static_cast<std::int16_t>(at[0] | at[1] << 8);
}

// log2(size) in 256ths, a straight line between powers of two; 0 for 0. The top of an IEEE 754 double is its
// exponent and, as that line, its fraction.
inline std::uint32_t octaves(std::uint32_t size) noexcept {
  if (size == 0) return 0;
  const double value = size;
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<std::uint32_t>(bits >> 44) - (1023U << 8);
}

// CRC-32 as in zlib: polynomial 0xEDB88320, reflected.
inline std::uint32_t checksum(const unsigned char* data, std::size_t bytes) noexcept {
  std::array<std::uint32_t, 256> steps{};
  for (std::uint32_t i = 0; i < steps.size(); ++i) {
    steps[i] = i;
    for (int bit = 0; bit < 8; ++bit) steps[i] = steps[i] >> 1 ^ (steps[i] & 1U ? 0xEDB88320U : 0U);
  }
  std::uint32_t value = 0xFFFFFFFFU;
  for (std::size_t i = 0; i < bytes; ++i) value = steps[(value ^ data[i]) & 0xFFU] ^ value >> 8;
  return ~value;
}

}  // namespace splitfleet::runtime::detail
