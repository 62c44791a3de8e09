#include "cpu_parts.hpp"

#include <Eigen/Core>

namespace splitfleet {
namespace {

using Line = Eigen::Map<Eigen::ArrayXf>;
using ConstLine = Eigen::Map<const Eigen::ArrayXf>;

constexpr float kRelu6Top = 6.0F;

}  // namespace

void apply_epilogue(const CpuTask& task, const CpuTensors& tensors, Range rows, Range columns) {
  if (task.op.epilogue == Epilogue::none) return;
  for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    const std::int64_t at = row * task.row_stride + columns.first;
    Line line(tensors.output + at, columns.count);
    switch (task.op.epilogue) {
      case Epilogue::none:
        break;
      case Epilogue::relu:
        line = line.max(0.0F);
        break;
      case Epilogue::relu6:
        line = line.max(0.0F).min(kRelu6Top);
        break;
      case Epilogue::add:
        line += ConstLine(tensors.residual + at, columns.count);
        break;
      case Epilogue::add_relu:
        line = (line + ConstLine(tensors.residual + at, columns.count)).max(0.0F);
    }
  }
}

}  // namespace splitfleet
