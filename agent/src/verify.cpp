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

std::string place(std::int64_t row, std::int64_t channel) {
  return "row " + std::to_string(row) + ", channel " + std::to_string(channel);
}

// One output element by the operator's definition.
double plain_output(const Operator& op, const Values& values, std::int64_t row, std::int64_t channel) {
  const std::int64_t top = row / op.out_width() * op.stride - op.pad_h;
  const std::int64_t left = row % op.out_width() * op.stride - op.pad_w;
  double sum = 0.0;
  for (std::int64_t k = 0; k < op.depth(); ++k) {
    const std::int64_t y = top + k / (op.kernel_w * op.in_channels);
    const std::int64_t x = left + k / op.in_channels % op.kernel_w;
    if (y < 0 || y >= op.height || x < 0 || x >= op.width) continue;
    const std::int64_t index = (y * op.width + x) * op.in_channels + k % op.in_channels;
    sum += static_cast<double>(values.input(index)) * static_cast<double>(values.weight(op, k, channel));
  }
  return sum;
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
    const std::int64_t row = i / view.row_stride;
    const std::int64_t channel = i % view.row_stride - view.column_offset;
    const bool belongs = row < op.rows() && channel >= 0 && channel < op.out_channels;
    const bool written = !std::isnan(view.elements.get(i));
    if (belongs == written) continue;
    throw JobError(Status::wrong_result,
                   belongs ? place(row, channel) + " was not written (or is no number)"
                           : "element " + std::to_string(i) + " outside the output was written");
  }
}

double compare_with_backend(const OutputView& view, const Workload& workload, Machine& machine,
                            MemoryBudget& budget) {
  const Operator& op = *workload.work().op;
  const auto floats = [&](std::int64_t count) {
    return Buffer(nullptr, Buffer::Use::shared, static_cast<std::size_t>(count) * sizeof(float), budget);
  };
  Buffer input = floats(op.input_floats());
  Buffer weights = floats(op.weight_floats());
  Buffer reference = floats(op.output_floats());
  const Values& values = workload.values();
  values.fill_input({input.map(CL_MAP_WRITE), ElementType::f32}, op.input_floats());
  values.fill_weights(op, 0, op.out_channels, op.out_channels, {weights.map(CL_MAP_WRITE), ElementType::f32});
  float* expected = reference.map_floats(CL_MAP_READ);
  machine.backend()
      .prepare(op, weights.map_floats(CL_MAP_READ), machine.threads({}))
      ->run(input.map_floats(CL_MAP_READ), expected, op.out_channels);
  Deviation deviation(workload.work().plan->tolerance);
  for (std::int64_t row = 0; row < op.rows(); ++row) {
    const std::int64_t first = row * view.row_stride + view.column_offset;
    for (std::int64_t o = 0; o < op.out_channels; ++o) {
      deviation.compare(view.elements.get(first + o), expected[row * op.out_channels + o], row, o);
    }
  }
  return deviation.checked();
}

double compare_sample(const OutputView& view, const Workload& workload) {
  const Operator& op = *workload.work().op;
  Deviation deviation(kCpuTolerance);
  const std::int64_t total = op.output_floats();
  const std::int64_t count = std::min(total, kSampleCount);
  for (std::int64_t i = 0; i < count; ++i) {
    // Spread evenly over rows and channels, first and last element included.
    const std::int64_t row = count == 1 ? 0 : i * (op.rows() - 1) / (count - 1);
    const std::int64_t channel = total == count
                                     ? i % op.out_channels
                                     : (i == count - 1 ? op.out_channels - 1 : i * 31 % op.out_channels);
    deviation.compare(view.elements.get(row * view.row_stride + channel),
                      plain_output(op, workload.values(), row, channel), row, channel);
  }
  return deviation.checked();
}

}  // namespace

double verify(Workload& workload, Machine& machine, MemoryBudget budget) {
  const Operator& op = *workload.work().op;
  workload.fill_output(std::numeric_limits<float>::quiet_NaN());
  workload.pin_caller();
  workload.execute();
  const OutputView view = workload.output();
  check_poison(view, op);
  const double error = workload.work().kind == JobKind::cpu
                           ? compare_sample(view, workload)
                           : compare_with_backend(view, workload, machine, budget);
  workload.settle();
  return error;
}

}  // namespace splitfleet
