#include "half.hpp"

#include <cstring>

namespace splitfleet {
namespace {

constexpr std::uint32_t kFloatInfinity = 0x7F800000U;
constexpr std::uint32_t kHalfInfinity = 0x7C00U;
constexpr std::uint32_t kQuiet = 0x200U;
constexpr std::uint32_t kHalfBiasShift = (127U - 15U) << 23;  // between the exponents' biases, in place
constexpr std::uint32_t kLeastNormal = 113U << 23;            // 2^-14
constexpr std::uint32_t kOverflow = 0x477FF000U;              // 65520 rounds to infinity
constexpr int kLostBits = 13;

std::uint32_t bits_of(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float float_of(std::uint32_t bits) {
  float value = 0.0F;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Drops `lost` low bits, rounding to nearest, ties to even.
std::uint32_t shifted_to_even(std::uint32_t bits, std::uint32_t lost) {
  const std::uint32_t half_way = (1U << (lost - 1)) - 1U + (bits >> lost & 1U);
  return (bits + half_way) >> lost;
}

std::uint32_t magnitude_to_half(std::uint32_t magnitude) {
  if (magnitude > kFloatInfinity) return kHalfInfinity | kQuiet;
  if (magnitude >= kOverflow) return kHalfInfinity;
  if (magnitude >= kLeastNormal) return shifted_to_even(magnitude - kHalfBiasShift, kLostBits);
  const std::uint32_t exponent = magnitude >> 23;
  if (exponent < 102) return 0;  // below half of the least subnormal, 2^-24
  const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
  return shifted_to_even(mantissa, 126U - exponent);
}

}  // namespace

std::uint16_t half_from_float(float value) {
  const std::uint32_t bits = bits_of(value);
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000U) | magnitude_to_half(bits & 0x7FFFFFFFU));
}

float float_from_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16;
  const std::uint32_t magnitude = half & 0x7FFFU;
  if (magnitude >= kHalfInfinity) return float_of(sign | kFloatInfinity | (magnitude & 0x3FFU) << kLostBits);
  if (magnitude >= 0x400U) return float_of(sign | ((magnitude << kLostBits) + kHalfBiasShift));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24F;
  return sign != 0 ? -subnormal : subnormal;
}

float rounded_to_half(float value) {
  return float_from_half(half_from_float(value));
}

}  // namespace splitfleet
