#include "split_decisions.hpp"

#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxDigits = std::size_t{16} << 20;

int digit(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  return -1;
}

std::string decoded(const Fields& fields, const std::string& digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    const int high = digit(digits[i]);
    const int low = digit(digits[i + 1]);
    if (high < 0 || low < 0)
      throw JobError(Status::invalid_job, fields.path("split_table") + ": hexadecimal digits are expected");
    bytes += static_cast<char>(16 * high + low);
  }
  return bytes;
}

std::uint32_t word(std::int64_t value) {
  return static_cast<std::uint32_t>(value);
}

runtime::Shape shape_of(const Operator& op, bool is_linear) {
  const auto epilogue = static_cast<runtime::Epilogue>(op.epilogue);
  if (is_linear)
    return runtime::Shape::linear(word(op.height), word(op.in_channels), word(op.out_channels), epilogue);
  const runtime::Window window = {word(op.kernel_h), word(op.kernel_w), word(op.stride), word(op.pad_h),
                                  word(op.pad_w)};
  const std::uint32_t height = word(op.height);
  const std::uint32_t width = word(op.width);
  const std::uint32_t channels = word(op.out_channels);
  switch (op.kind) {
    case OperatorKind::dense:
      return runtime::Shape::conv2d(height, width, word(op.in_channels), channels, window, epilogue);
    case OperatorKind::depthwise:
      return runtime::Shape::depthwise_conv2d(height, width, channels, window, epilogue);
    case OperatorKind::max_pool:
      return runtime::Shape::pool2d(runtime::PoolMode::max, height, width, channels, window);
    case OperatorKind::avg_pool:
      break;
  }
  return runtime::Shape::pool2d(runtime::PoolMode::avg, height, width, channels, window);
}

}  // namespace

SplitDecisions::SplitDecisions(const Fields& fields)
    : bytes_(decoded(fields, fields.text("split_table", kMaxDigits))) {
  const runtime::TableError error = runtime::SplitTable::open(bytes_.data(), bytes_.size(), table_);
  if (error != runtime::TableError::none)
    throw JobError(Status::invalid_job, fields.path("split_table") + ": " + runtime::error_text(error));
}

SplitDecisions::Way SplitDecisions::find(const Operator& op, const Fields& fields) const {
  const bool is_linear = fields.text("type", 40) == "linear";
  const auto found = table_.find(shape_of(op, is_linear), runtime::Policy::table_default);
  return {found ? std::int64_t{found->cut} : op.out_channels, found ? std::int64_t{found->threads} : 1};
}

}  // namespace splitfleet
