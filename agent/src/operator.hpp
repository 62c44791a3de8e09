// The operators whose halves are computed: a linear layer or a 2-D convolution, batch 1, channels last.
#pragma once

#include <cstdint>

#include "fields.hpp"

namespace splitfleet {

// A linear layer of R rows is the 1x1 convolution of an R x 1 image, so one geometry describes both.
struct Operator {
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t in_channels = 1;
  std::int64_t out_channels = 1;
  std::int64_t kernel_h = 1;
  std::int64_t kernel_w = 1;
  std::int64_t stride = 1;
  std::int64_t pad_h = 0;
  std::int64_t pad_w = 0;

  std::int64_t out_height() const { return (height + 2 * pad_h - kernel_h) / stride + 1; }
  std::int64_t out_width() const { return (width + 2 * pad_w - kernel_w) / stride + 1; }
  // The operator as a matrix product: output [rows, out_channels] = patches [rows, depth] x weights [depth,
  // out_channels].
  std::int64_t rows() const { return out_height() * out_width(); }
  std::int64_t depth() const { return kernel_h * kernel_w * in_channels; }
  // True when the patches are the input itself.
  bool is_product() const {
    return kernel_h == 1 && kernel_w == 1 && stride == 1 && pad_h == 0 && pad_w == 0;
  }
  std::int64_t input_floats() const { return height * width * in_channels; }
  std::int64_t weight_floats() const { return depth() * out_channels; }
  std::int64_t output_floats() const { return rows() * out_channels; }
};

// Throws JobError(invalid_job) for an unknown type, a missing field or a shape beyond any sense.
Operator parse_operator(const Fields& fields);

}  // namespace splitfleet
