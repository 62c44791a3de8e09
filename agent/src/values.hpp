// Deterministic pseudo-random operands: the same logical value on the CPU, on the GPU and in the reference.
#pragma once

#include <cstdint>

#include "operator.hpp"

namespace splitfleet {

// Values in [-1, 1]. Where a GPU stores halves, every value is one that half precision can hold: its
// conversions are then exact, and an error that is found was made by computing.
class Values {
 public:
  // Weights are multiplied by `weight_scale`, so that the numbers of a deep network stay in range.
  explicit Values(bool in_half = false, float weight_scale = 1.0F)
      : in_half_(in_half), weight_scale_(weight_scale) {}

  // Element `index` of the input.
  float input(std::int64_t index) const;
  // Element (k, o) of the logical weight matrix [depth, out_channels] of the whole operator.
  float weight(const Operator& whole, std::int64_t k, std::int64_t o) const;
  // Element `index` of the residual tensor [rows, out_channels] of the whole operator.
  float residual(std::int64_t index) const;

  // Element (pixel, channel) lies at pixel * layout.row_stride + layout.column_offset + channel.
  void fill_input(const Operator& op, Layout layout, Elements input) const;
  // Writes columns [first, first + channels) of the whole operator's weights in panels of `panel` columns:
  // element (k, o) lies at ((o / panel) * depth + k) * panel + o % panel; the last panel is filled up with
  // zeros. `panel == channels` gives the plain row-major matrix [depth, channels].
  void fill_weights(const Operator& whole, std::int64_t first, std::int64_t channels, std::int64_t panel,
                    Elements packed) const;
  // As fill_input, for rows and output channels.
  void fill_residual(const Operator& op, Layout layout, Elements residual) const;

 private:
  float kept(float value) const;

  bool in_half_;
  float weight_scale_;
};

}  // namespace splitfleet
