#include "operator.hpp"

#include <initializer_list>
#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 24;
constexpr std::int64_t kMaxKernel = 1024;
constexpr std::int64_t kMaxFloats = std::int64_t{1} << 40;

// Multiplies extents, each at least 1, and refuses before the product can overflow.
void check_product(std::initializer_list<std::int64_t> extents, const char* what) {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) {
    if (product > kMaxFloats / extent) {
      throw JobError(Status::invalid_job, std::string("operator: the ") + what + " is too large");
    }
    product *= extent;
  }
}

}  // namespace

Operator parse_operator(const Fields& fields) {
  Operator op;
  const std::string type = fields.text("type", 32);
  if (type == "linear") {
    op.height = fields.integer("rows", 1, kMaxExtent);
    op.in_channels = fields.integer("in_features", 1, kMaxExtent);
    op.out_channels = fields.integer("out_features", 1, kMaxExtent);
  } else if (type == "conv2d") {
    op.height = fields.integer("height", 1, kMaxExtent);
    op.width = fields.integer("width", 1, kMaxExtent);
    op.in_channels = fields.integer("in_channels", 1, kMaxExtent);
    op.out_channels = fields.integer("out_channels", 1, kMaxExtent);
    op.kernel_h = fields.integer("kernel_h", 1, kMaxKernel);
    op.kernel_w = fields.integer("kernel_w", 1, kMaxKernel);
    op.stride = fields.integer("stride", 1, kMaxKernel);
    op.pad_h = fields.integer("pad_h", 0, kMaxKernel);
    op.pad_w = fields.integer("pad_w", 0, kMaxKernel);
  } else {
    throw JobError(Status::invalid_job, fields.path("type") + ": linear or conv2d is expected, not " + type);
  }
  if (op.height + 2 * op.pad_h < op.kernel_h || op.width + 2 * op.pad_w < op.kernel_w) {
    throw JobError(Status::invalid_job, "operator: the kernel is larger than the padded input");
  }
  check_product({op.height, op.width, op.in_channels}, "input");
  check_product({op.kernel_h, op.kernel_w, op.in_channels, op.out_channels}, "weight matrix");
  check_product({op.out_height(), op.out_width(), op.out_channels}, "output");
  return op;
}

}  // namespace splitfleet
