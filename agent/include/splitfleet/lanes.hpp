// Sixteen whole numbers from 0 to 32,767 at once. Sums that would be greater stay at kMost. On x86-64 and
// arm64 these are instructions that every one has, elsewhere loops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#include <arm_neon.h>
#endif

namespace splitfleet::runtime::detail {

constexpr std::size_t kLanes = 16;

// The number of a bit, by the four bits that a de Bruijn sequence has on top when it is multiplied with that
// bit.
inline constexpr std::uint8_t kPlaces[kLanes] = {0, 1, 2, 5, 3, 9, 6, 11, 15, 4, 8, 10, 14, 7, 13, 12};

// The number of the lowest of sixteen bits that is set.
inline std::uint32_t first_lane(std::uint32_t lanes) noexcept {
  return kPlaces[((lanes & (0U - lanes)) * 0x09AFU & 0xFFFFU) >> 12];
}

#if defined(__SSE2__)

class Lanes {
 public:
  static constexpr std::int16_t kMost = 0x7FFF;
  static constexpr std::size_t kBytes = 2 * kLanes;

  static Lanes load(const unsigned char* at) noexcept {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)),
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16))};
  }
  static Lanes all(std::int16_t value) noexcept { return {_mm_set1_epi16(value), _mm_set1_epi16(value)}; }

  Lanes operator+(const Lanes& other) const noexcept {
    return {_mm_adds_epi16(low_, other.low_), _mm_adds_epi16(high_, other.high_)};
  }
  // How much more than the other's; 0 where it is less.
  Lanes beyond(const Lanes& other) const noexcept {
    return {_mm_subs_epu16(low_, other.low_), _mm_subs_epu16(high_, other.high_)};
  }
  // `value` where these have no bit in common with `bits`, else 0.
  Lanes unless(std::int16_t bits, std::int16_t value) const noexcept {
    const __m128i zero = _mm_setzero_si128();
    const __m128i wanted = _mm_set1_epi16(bits);
    const __m128i given = _mm_set1_epi16(value);
    return {_mm_and_si128(_mm_cmpeq_epi16(_mm_and_si128(low_, wanted), zero), given),
            _mm_and_si128(_mm_cmpeq_epi16(_mm_and_si128(high_, wanted), zero), given)};
  }
  std::int16_t least() const noexcept {
    __m128i found = _mm_min_epi16(low_, high_);
    found = _mm_min_epi16(found, _mm_shuffle_epi32(found, 0x4E));
    found = _mm_min_epi16(found, _mm_shuffle_epi32(found, 0xB1));
    return static_cast<std::int16_t>(_mm_cvtsi128_si32(_mm_min_epi16(found, _mm_srli_epi32(found, 16))));
  }
  // A bit for each that is no greater.
  std::uint32_t at_most(std::int16_t value) const noexcept {
    const __m128i given = _mm_set1_epi16(value);
    const __m128i greater = _mm_packs_epi16(_mm_cmpgt_epi16(low_, given), _mm_cmpgt_epi16(high_, given));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(greater)) ^ 0xFFFFU;
  }

 private:
  Lanes(__m128i low, __m128i high) noexcept : low_(low), high_(high) {}

  __m128i low_;
  __m128i high_;
};

#elif defined(__aarch64__) && !defined(__AARCH64EB__)

class Lanes {
 public:
  static constexpr std::int16_t kMost = 0x7FFF;
  static constexpr std::size_t kBytes = 2 * kLanes;

  static Lanes load(const unsigned char* at) noexcept {
    return {vreinterpretq_s16_u8(vld1q_u8(at)), vreinterpretq_s16_u8(vld1q_u8(at + 16))};
  }
  static Lanes all(std::int16_t value) noexcept { return {vdupq_n_s16(value), vdupq_n_s16(value)}; }

  Lanes operator+(const Lanes& other) const noexcept {
    return {vqaddq_s16(low_, other.low_), vqaddq_s16(high_, other.high_)};
  }
  Lanes beyond(const Lanes& other) const noexcept {
    return {beyond(low_, other.low_), beyond(high_, other.high_)};
  }
  Lanes unless(std::int16_t bits, std::int16_t value) const noexcept {
    const int16x8_t wanted = vdupq_n_s16(bits);
    const int16x8_t given = vdupq_n_s16(value);
    const int16x8_t none = vdupq_n_s16(0);
    return {vbslq_s16(vtstq_s16(low_, wanted), none, given),
            vbslq_s16(vtstq_s16(high_, wanted), none, given)};
  }
  std::int16_t least() const noexcept { return vminvq_s16(vminq_s16(low_, high_)); }
  std::uint32_t at_most(std::int16_t value) const noexcept {
    const int16x8_t given = vdupq_n_s16(value);
    return lanes_of(vcleq_s16(low_, given)) | lanes_of(vcleq_s16(high_, given)) << 8;
  }

 private:
  Lanes(int16x8_t low, int16x8_t high) noexcept : low_(low), high_(high) {}

  static int16x8_t beyond(int16x8_t first, int16x8_t second) noexcept {
    return vreinterpretq_s16_u16(vqsubq_u16(vreinterpretq_u16_s16(first), vreinterpretq_u16_s16(second)));
  }
  static std::uint32_t lanes_of(uint16x8_t chosen) noexcept {
    constexpr std::uint16_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(chosen, vld1q_u16(kBits)));
  }

  int16x8_t low_;
  int16x8_t high_;
};

#else

class Lanes {
 public:
  static constexpr std::int16_t kMost = 0x7FFF;
  static constexpr std::size_t kBytes = 2 * kLanes;

  static Lanes load(const unsigned char* at) noexcept {
    Lanes found;
    for (std::size_t i = 0; i < kLanes; ++i)
      found.values_[i] = static_cast<std::int16_t>(at[2 * i] | at[2 * i + 1] << 8);
    return found;
  }
  static Lanes all(std::int16_t value) noexcept {
    Lanes found;
    found.values_.fill(value);
    return found;
  }

  Lanes operator+(const Lanes& other) const noexcept {
    Lanes found;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const int sum = values_[i] + other.values_[i];
      found.values_[i] = static_cast<std::int16_t>(sum < kMost ? sum : kMost);
    }
    return found;
  }
  Lanes beyond(const Lanes& other) const noexcept {
    Lanes found;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const int more = values_[i] - other.values_[i];
      found.values_[i] = static_cast<std::int16_t>(more > 0 ? more : 0);
    }
    return found;
  }
  Lanes unless(std::int16_t bits, std::int16_t value) const noexcept {
    Lanes found;
    for (std::size_t i = 0; i < kLanes; ++i)
      found.values_[i] = (values_[i] & bits) == 0 ? value : std::int16_t{0};
    return found;
  }
  std::int16_t least() const noexcept {
    std::int16_t found = values_[0];
    for (const std::int16_t value : values_) found = value < found ? value : found;
    return found;
  }
  std::uint32_t at_most(std::int16_t value) const noexcept {
    std::uint32_t lanes = 0;
    for (std::size_t i = 0; i < kLanes; ++i) lanes |= (values_[i] <= value ? 1U : 0U) << i;
    return lanes;
  }

 private:
  std::array<std::int16_t, kLanes> values_;
};

#endif

}  // namespace splitfleet::runtime::detail
