#include "operator.hpp"

#include <initializer_list>
#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 24;
constexpr std::int64_t kMaxKernel = 1024;
constexpr std::int64_t kMaxFloats = std::int64_t{1} << 40;

enum class OperatorType { linear, conv2d, depthwise_conv2d, pool2d };
constexpr const char* kTypeNames[] = {"linear", "conv2d", "depthwise_conv2d", "pool2d"};
constexpr const char* kPoolModeNames[] = {"max", "avg"};
constexpr const char* kEpilogueNames[] = {"none", "relu", "relu6", "add", "add_relu"};

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

void parse_window(const Fields& fields, Operator& op) {
  op.height = fields.integer("height", 1, kMaxExtent);
  op.width = fields.integer("width", 1, kMaxExtent);
  op.kernel_h = fields.integer("kernel_h", 1, kMaxKernel);
  op.kernel_w = fields.integer("kernel_w", 1, kMaxKernel);
  op.stride = fields.integer("stride", 1, kMaxKernel);
  op.pad_h = fields.integer("pad_h", 0, kMaxKernel);
  op.pad_w = fields.integer("pad_w", 0, kMaxKernel);
}

void parse_shape(const Fields& fields, OperatorType type, Operator& op) {
  if (type == OperatorType::linear) {
    op.height = fields.integer("rows", 1, kMaxExtent);
    op.in_channels = fields.integer("in_features", 1, kMaxExtent);
    op.out_channels = fields.integer("out_features", 1, kMaxExtent);
    return;
  }
  parse_window(fields, op);
  if (type == OperatorType::conv2d) {
    op.in_channels = fields.integer("in_channels", 1, kMaxExtent);
    op.out_channels = fields.integer("out_channels", 1, kMaxExtent);
  } else {
    op.in_channels = op.out_channels = fields.integer("channels", 1, kMaxExtent);
  }
}

OperatorKind parse_kind(const Fields& fields, OperatorType type) {
  if (type == OperatorType::depthwise_conv2d) return OperatorKind::depthwise;
  if (type != OperatorType::pool2d) return OperatorKind::dense;
  return fields.one_of("mode", kPoolModeNames) == 0 ? OperatorKind::max_pool : OperatorKind::avg_pool;
}

}  // namespace

Operator Operator::first_channels(std::int64_t channels) const {
  Operator part = *this;
  part.out_channels = channels;
  if (is_channelwise()) part.in_channels = channels;
  return part;
}

Operator parse_operator(const Fields& fields) {
  const auto type = static_cast<OperatorType>(fields.one_of("type", kTypeNames));
  Operator op;
  op.kind = parse_kind(fields, type);
  parse_shape(fields, type, op);
  if (type != OperatorType::pool2d && fields.has("epilogue"))
    op.epilogue = static_cast<Epilogue>(fields.one_of("epilogue", kEpilogueNames));
  if (op.height + 2 * op.pad_h < op.kernel_h || op.width + 2 * op.pad_w < op.kernel_w) {
    throw JobError(Status::invalid_job, "operator: the kernel is larger than the padded input");
  }
  if (type == OperatorType::pool2d && (op.pad_h >= op.kernel_h || op.pad_w >= op.kernel_w)) {
    throw JobError(Status::invalid_job, "operator: the padding holds a whole window, which has no value");
  }
  check_product({op.height, op.width, op.in_channels}, "input");
  check_product({op.kernel_h, op.kernel_w, op.is_channelwise() ? 1 : op.in_channels, op.out_channels},
                "weight matrix");
  check_product({op.out_height(), op.out_width(), op.out_channels}, "output");
  return op;
}

}  // namespace splitfleet
