// The operators whose halves are computed, batch 1, channels last.
#pragma once

#include <algorithm>
#include <cstdint>

#include "elements.hpp"
#include "fields.hpp"

namespace splitfleet {

// `dense`: linear layers and convolutions, where each output channel needs all input channels. The others
// work channel by channel.
enum class OperatorKind { dense, depthwise, max_pool, avg_pool };

// What is done to each output element at the end: y = activation(sum [+ residual]).
enum class Epilogue { none, relu, relu6, add, add_relu };

// A linear layer of R rows is the 1x1 convolution of an R x 1 image, so one geometry describes all.
struct Operator {
  OperatorKind kind = OperatorKind::dense;
  Epilogue epilogue = Epilogue::none;
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t in_channels = 1;
  std::int64_t out_channels = 1;
  std::int64_t kernel_h = 1;
  std::int64_t kernel_w = 1;
  std::int64_t stride = 1;
  std::int64_t pad_h = 0;
  std::int64_t pad_w = 0;

  bool is_channelwise() const { return kind != OperatorKind::dense; }
  bool has_weights() const { return kind == OperatorKind::dense || kind == OperatorKind::depthwise; }
  bool adds() const { return epilogue == Epilogue::add || epilogue == Epilogue::add_relu; }
  std::int64_t out_height() const { return (height + 2 * pad_h - kernel_h) / stride + 1; }
  std::int64_t out_width() const { return (width + 2 * pad_w - kernel_w) / stride + 1; }
  std::int64_t pixels() const { return height * width; }
  std::int64_t rows() const { return out_height() * out_width(); }
  // Rows of the weight matrix [depth, out_channels]; a dense operator is the matrix product of patches
  // [rows, depth] with it.
  std::int64_t depth() const { return kernel_h * kernel_w * (is_channelwise() ? 1 : in_channels); }
  // True when the patches are the input itself.
  bool is_product() const {
    return kind == OperatorKind::dense && kernel_h == 1 && kernel_w == 1 && stride == 1 && pad_h == 0 &&
           pad_w == 0;
  }
  std::int64_t input_floats() const { return pixels() * in_channels; }
  std::int64_t weight_floats() const { return has_weights() ? depth() * out_channels : 0; }
  std::int64_t output_floats() const { return rows() * out_channels; }
  // The layout of an input whose tensor the operator has for itself.
  Layout tight_input() const { return {in_channels, 0}; }
  Layout tight_output() const { return {out_channels, 0}; }
  // The operator that computes the first `channels` output channels.
  Operator first_channels(std::int64_t channels) const;
};

// Indices [first, last) of a kernel's side that lie inside the image when the kernel starts at `start`.
struct Inside {
  std::int64_t first;
  std::int64_t last;
};

inline Inside inside(std::int64_t start, std::int64_t kernel, std::int64_t extent) {
  const std::int64_t first = std::clamp(-start, std::int64_t{0}, kernel);
  return {first, std::clamp(extent - start, first, kernel)};
}

// Throws JobError(invalid_job) for an unknown type, a missing field or a shape beyond any sense.
Operator parse_operator(const Fields& fields);

}  // namespace splitfleet
