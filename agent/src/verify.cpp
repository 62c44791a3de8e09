#include "verify.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "status.hpp"
#include "values.hpp"

namespace splitfleet {
namespace {

constexpr double kCpuTolerance = 1e-4;
constexpr std::int64_t kSampleCount = 256;
constexpr const char* kReferenceBackend = "eigen";

std::string place(std::int64_t row, std::int64_t channel) {
  return "row " + std::to_string(row) + ", channel " + std::to_string(channel);
}

// What one tap, the input pixel under kernel position k, adds to a dense or depthwise sum.
double plain_product(const Operator& op, const Values& values, std::int64_t pixel, std::int64_t k,
                     std::int64_t channel) {
  if (op.kind == OperatorKind::depthwise) {
    return static_cast<double>(values.input(pixel * op.in_channels + channel)) *
           static_cast<double>(values.weight(op, k, channel));
  }
  double sum = 0.0;
  for (std::int64_t c = 0; c < op.in_channels; ++c) {
    sum += static_cast<double>(values.input(pixel * op.in_channels + c)) *
           static_cast<double>(values.weight(op, k * op.in_channels + c, channel));
  }
  return sum;
}

double plain_epilogue(const Operator& op, double sum, double residual) {
  if (op.adds()) sum += residual;
  if (op.epilogue == Epilogue::none || op.epilogue == Epilogue::add) return sum;
  return std::clamp(sum, 0.0, op.epilogue == Epilogue::relu6 ? 6.0 : std::numeric_limits<double>::infinity());
}

// One output element by the operator's definition.
double plain_output(const Operator& op, const Values& values, std::int64_t row, std::int64_t channel) {
  const std::int64_t top = row / op.out_width() * op.stride - op.pad_h;
  const std::int64_t left = row % op.out_width() * op.stride - op.pad_w;
  double sum = 0.0;
  double largest = -std::numeric_limits<double>::infinity();
  std::int64_t taps = 0;
  for (std::int64_t k = 0; k < op.kernel_h * op.kernel_w; ++k) {
    const std::int64_t y = top + k / op.kernel_w;
    const std::int64_t x = left + k % op.kernel_w;
    if (y < 0 || y >= op.height || x < 0 || x >= op.width) continue;
    const std::int64_t pixel = y * op.width + x;
    ++taps;
    if (op.has_weights()) {
      sum += plain_product(op, values, pixel, k, channel);
    } else {
      const auto value = static_cast<double>(values.input(pixel * op.in_channels + channel));
      sum += value;
      largest = std::max(largest, value);
    }
  }
  if (op.kind == OperatorKind::max_pool) return largest;
  if (op.kind == OperatorKind::avg_pool) return sum / static_cast<double>(taps);
  return plain_epilogue(op, sum, static_cast<double>(values.residual(row * op.out_channels + channel)));
}

// The worst deviation seen so far, and the size of the reference that it is measured by.
class Deviation {
 public:
  explicit Deviation(double tolerance) : tolerance_(tolerance) {}

  void compare(double output, double reference, std::int64_t row, std::int64_t channel) {
    largest_ = std::max(largest_, std::abs(reference));
    const double error = std::abs(output - reference);
    if (error > worst_) {
      worst_ = error;
      char values[80];
      std::snprintf(values, sizeof(values), " is %.6g instead of %.6g", output, reference);
      where_ = place(row, channel) + values;
    }
  }
  double checked() const {
    const double relative = largest_ > 0.0 ? worst_ / largest_ : worst_;
    if (relative > tolerance_) {
      char error[40];
      std::snprintf(error, sizeof(error), "relative error %.3g: ", relative);
      throw JobError(Status::wrong_result, error + where_);
    }
    return relative;
  }

 private:
  double tolerance_;
  double largest_ = 0.0;
  double worst_ = 0.0;
  std::string where_;
};

// Every element of the operator's columns was written, and none beside them.
void check_poison(const OutputView& view, const Operator& op) {
  for (std::int64_t i = 0; i < view.count; ++i) {
    const std::int64_t row = i / view.layout.row_stride;
    const std::int64_t channel = i % view.layout.row_stride - view.layout.column_offset;
    const bool belongs = row < op.rows() && channel >= 0 && channel < op.out_channels;
    const bool written = !std::isnan(view.elements.get(i));
    if (belongs == written) continue;
    throw JobError(Status::wrong_result,
                   belongs ? place(row, channel) + " was not written (or is no number)"
                           : "element " + std::to_string(i) + " outside the output was written");
  }
}

// All elements, with the reference backend on the calling thread.
void compare_whole(const OutputView& view, const Workload& workload, Machine& machine, MemoryBudget& budget,
                   Deviation& deviation) {
  const Operator& op = *workload.work().op;
  const auto floats = [&](std::int64_t count) {
    return Buffer(nullptr, Buffer::Use::shared, static_cast<std::size_t>(count) * sizeof(float), budget);
  };
  const auto elements = [](Buffer& buffer) { return Elements(buffer.map(CL_MAP_WRITE), ElementType::f32); };
  Buffer input = floats(op.input_floats());
  Buffer weights = floats(op.weight_floats());
  Buffer residual = floats(op.adds() ? op.output_floats() : 0);
  Buffer reference = floats(op.output_floats());
  const Values& values = workload.values();
  values.fill_input(op, op.tight_input(), elements(input));
  if (op.has_weights()) values.fill_weights(op, 0, op.out_channels, op.out_channels, elements(weights));
  if (op.adds()) values.fill_residual(op, op.tight_output(), elements(residual));
  float* expected = reference.map_floats(CL_MAP_READ);
  machine.backend(kReferenceBackend)
      .prepare({op, weights.map_floats(CL_MAP_READ), op.out_channels}, machine.threads({}))
      ->run({input.map_floats(CL_MAP_READ), residual.map_floats(CL_MAP_READ), expected});
  for (std::int64_t row = 0; row < op.rows(); ++row) {
    for (std::int64_t o = 0; o < op.out_channels; ++o) {
      deviation.compare(view.get(row, o), expected[row * op.out_channels + o], row, o);
    }
  }
}

// A sample of elements, with a plain loop in double precision.
void compare_sample(const OutputView& view, const Workload& workload, Deviation& deviation) {
  const Operator& op = *workload.work().op;
  const std::int64_t total = op.output_floats();
  const std::int64_t count = std::min(total, kSampleCount);
  for (std::int64_t i = 0; i < count; ++i) {
    // Spread evenly over rows and channels, first and last element included.
    const std::int64_t row = count == 1 ? 0 : i * (op.rows() - 1) / (count - 1);
    const std::int64_t channel = total == count
                                     ? i % op.out_channels
                                     : (i == count - 1 ? op.out_channels - 1 : i * 31 % op.out_channels);
    deviation.compare(view.get(row, channel), plain_output(op, workload.values(), row, channel), row,
                      channel);
  }
}

}  // namespace

double verify(Workload& workload, Machine& machine, MemoryBudget budget) {
  const Work& work = workload.work();
  workload.fill_output(std::numeric_limits<float>::quiet_NaN());
  workload.pin_caller();
  workload.execute();
  const OutputView view = workload.output();
  check_poison(view, *work.op);
  Deviation deviation(work.plan ? work.plan->tolerance : kCpuTolerance);
  compare_sample(view, workload, deviation);
  // The reference backend cannot vouch for itself.
  if (work.plan || work.backend != kReferenceBackend)
    compare_whole(view, workload, machine, budget, deviation);
  workload.settle();
  return deviation.checked();
}

}  // namespace splitfleet
