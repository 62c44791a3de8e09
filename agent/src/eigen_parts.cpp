#include "eigen_parts.hpp"

#include <Eigen/Core>
#include <algorithm>

namespace splitfleet {
namespace {

using Line = Eigen::Map<Eigen::ArrayXf>;
using ConstLine = Eigen::Map<const Eigen::ArrayXf>;

constexpr float kRelu6Top = 6.0F;

}  // namespace

Range share(std::int64_t total, std::int64_t block, int index, int threads) {
  const std::int64_t blocks = (total + block - 1) / block;
  const std::int64_t first = std::min(total, blocks * index / threads * block);
  const std::int64_t last = std::min(total, blocks * (index + 1) / threads * block);
  return {first, last - first};
}

void apply_epilogue(Epilogue epilogue, const CpuTensors& tensors, Range rows, Range columns) {
  if (epilogue == Epilogue::none) return;
  for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    const std::int64_t at = row * tensors.row_stride + columns.first;
    Line line(tensors.output + at, columns.count);
    switch (epilogue) {
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
