#include "values.hpp"

#include <algorithm>

namespace splitfleet {
namespace {

constexpr std::uint32_t kInputSeed = 0x1F123BB5U;
constexpr std::uint32_t kWeightSeed = 0x5D0B7A19U;

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

float input_value(std::int64_t index) {
  return scrambled(static_cast<std::uint32_t>(index), kInputSeed);
}

float weight_value(const Operator& whole, std::int64_t k, std::int64_t o) {
  return scrambled(static_cast<std::uint32_t>(k * whole.out_channels + o), kWeightSeed);
}

void fill_input(float* input, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) input[i] = input_value(i);
}

void fill_weights(const Operator& whole, std::int64_t first, std::int64_t channels, std::int64_t panel,
                  float* packed) {
  const std::int64_t depth = whole.depth();
  for (std::int64_t column = 0; column < channels; column += panel) {
    const std::int64_t filled = std::min(panel, channels - column);
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t i = 0; i < filled; ++i) packed[i] = weight_value(whole, k, first + column + i);
      std::fill(packed + filled, packed + panel, 0.0F);
      packed += panel;
    }
  }
}

std::int64_t packed_weight_floats(const Operator& whole, std::int64_t channels, std::int64_t panel) {
  return (channels + panel - 1) / panel * panel * whole.depth();
}

}  // namespace splitfleet
