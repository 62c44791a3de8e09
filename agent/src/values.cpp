#include "values.hpp"

#include <algorithm>

namespace splitfleet {
namespace {

constexpr std::uint32_t kInputSeed = 0x1F123BB5U;
constexpr std::uint32_t kWeightSeed = 0x5D0B7A19U;
constexpr std::uint32_t kResidualSeed = 0x2C9D4E83U;

// An integer hash (multiply, shift, exclusive-or), cheap enough to fill matrices and free of state, so any
// element can be computed on its own. Indices are taken modulo 2^32.
float scrambled(std::uint32_t index, std::uint32_t seed) {
  std::uint32_t x = index * 0x9E3779B1U + seed;
  x ^= x >> 15;
  x *= 0x85EBCA77U;
  x ^= x >> 13;
  x *= 0xC2B2AE3DU;
  x ^= x >> 16;
  return static_cast<float>(static_cast<std::int32_t>(x)) * 0x1p-31F;
}

}  // namespace

float Values::kept(float value) const {
  return in_half_ ? rounded_to_half(value) : value;
}

float Values::input(std::int64_t index) const {
  return kept(scrambled(static_cast<std::uint32_t>(index), kInputSeed));
}

float Values::weight(const Operator& whole, std::int64_t k, std::int64_t o) const {
  return kept(weight_scale_ * scrambled(static_cast<std::uint32_t>(k * whole.out_channels + o), kWeightSeed));
}

float Values::residual(std::int64_t index) const {
  return kept(scrambled(static_cast<std::uint32_t>(index), kResidualSeed));
}

void Values::fill_input(const Operator& op, Layout layout, Elements elements) const {
  for (std::int64_t pixel = 0; pixel < op.pixels(); ++pixel) {
    for (std::int64_t c = 0; c < op.in_channels; ++c) {
      elements.set(layout.at(pixel, c), input(pixel * op.in_channels + c));
    }
  }
}

void Values::fill_weights(const Operator& whole, std::int64_t first, std::int64_t channels,
                          std::int64_t panel, Elements packed) const {
  const std::int64_t depth = whole.depth();
  std::int64_t at = 0;
  for (std::int64_t column = 0; column < channels; column += panel) {
    const std::int64_t filled = std::min(panel, channels - column);
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t i = 0; i < panel; ++i) {
        packed.set(at++, i < filled ? weight(whole, k, first + column + i) : 0.0F);
      }
    }
  }
}

void Values::fill_residual(const Operator& op, Layout layout, Elements elements) const {
  for (std::int64_t row = 0; row < op.rows(); ++row) {
    for (std::int64_t o = 0; o < op.out_channels; ++o) {
      elements.set(layout.at(row, o), residual(row * op.out_channels + o));
    }
  }
}

}  // namespace splitfleet
