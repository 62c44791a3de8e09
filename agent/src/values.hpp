// Deterministic pseudo-random operands: the same logical weight on the CPU, on the GPU and in the reference.
#pragma once

#include <cstdint>

#include "operator.hpp"

namespace splitfleet {

// Element `index` of the input, in [-1, 1].
float input_value(std::int64_t index);

// Element (k, o) of the logical weight matrix [depth, out_channels] of the whole operator, in [-1, 1].
float weight_value(const Operator& whole, std::int64_t k, std::int64_t o);

void fill_input(float* input, std::int64_t count);

// Writes columns [first, first + channels) of the whole operator's weights in panels of `panel` columns:
// element (k, o) lies at ((o / panel) * depth + k) * panel + o % panel; the last panel is filled up with
// zeros. `panel == channels` gives the plain row-major matrix [depth, channels].
void fill_weights(const Operator& whole, std::int64_t first, std::int64_t channels, std::int64_t panel,
                  float* packed);

// Number of floats that fill_weights writes.
std::int64_t packed_weight_floats(const Operator& whole, std::int64_t channels, std::int64_t panel);

}  // namespace splitfleet
