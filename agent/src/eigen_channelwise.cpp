#include "eigen_channelwise.hpp"

#include <Eigen/Core>
#include <limits>

#include "cpu_parts.hpp"

namespace splitfleet {
namespace {

// Channels whose sums stay in registers: eight of AVX's, half as many as NEON has.
constexpr int kBlock = 64;

// The taps of one output pixel that lie inside the image.
struct Window {
  std::int64_t top;
  std::int64_t left;
  Inside down;
  Inside across;
  std::int64_t taps() const { return (down.last - down.first) * (across.last - across.first); }
};

// Vectors run along the channels, threads share the output rows.
class Channelwise : public CpuOperator {
 public:
  Channelwise(const CpuTask& task, ThreadPool& pool) : task_(task), op_(task_.op), pool_(pool) {}

  void run(const CpuTensors& tensors) override {
    pool_.run([&](int index) {
      const Range rows = share(op_.rows(), 1, index, pool_.size());
      for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row) compute(tensors, row);
      apply_epilogue(task_, tensors, rows, {0, op_.out_channels});
    });
  }

 private:
  Window window(std::int64_t row) const {
    const std::int64_t top = row / op_.out_width() * op_.stride - op_.pad_h;
    const std::int64_t left = row % op_.out_width() * op_.stride - op_.pad_w;
    return {top, left, inside(top, op_.kernel_h, op_.height), inside(left, op_.kernel_w, op_.width)};
  }

  void compute(const CpuTensors& tensors, std::int64_t row) const {
    switch (op_.kind) {
      case OperatorKind::depthwise:
        return compute_row<OperatorKind::depthwise>(tensors, row);
      case OperatorKind::max_pool:
        return compute_row<OperatorKind::max_pool>(tensors, row);
      default:
        return compute_row<OperatorKind::avg_pool>(tensors, row);
    }
  }

  template <OperatorKind kind>
  void compute_row(const CpuTensors& tensors, std::int64_t row) const {
    compute_channels<kind, kBlock>(tensors, row, window(row), 0);
  }

  // Channels from `channel` on, in blocks of `size`, then in smaller ones.
  template <OperatorKind kind, int size>
  void compute_channels(const CpuTensors& tensors, std::int64_t row, const Window& taps,
                        std::int64_t channel) const {
    for (; channel + size <= op_.out_channels; channel += size) {
      compute_block<kind, Eigen::Array<float, size, 1>>(tensors, row, taps, channel);
    }
    if constexpr (size > 1) compute_channels<kind, size / 2>(tensors, row, taps, channel);
  }

  template <OperatorKind kind, typename Block>
  void compute_block(const CpuTensors& tensors, std::int64_t row, const Window& taps,
                     std::int64_t channel) const {
    using Channels = Eigen::Map<const Block>;
    constexpr bool is_max = kind == OperatorKind::max_pool;
    Block sums = Block::Constant(is_max ? std::numeric_limits<float>::lowest() : 0.0F);
    for (std::int64_t ky = taps.down.first; ky < taps.down.last; ++ky) {
      const std::int64_t pixel = (taps.top + ky) * op_.width + taps.left;
      for (std::int64_t kx = taps.across.first; kx < taps.across.last; ++kx) {
        const Channels values(tensors.input + (pixel + kx) * task_.row_stride + channel);
        if constexpr (is_max) {
          sums = sums.max(values);
        } else if constexpr (kind == OperatorKind::avg_pool) {
          sums += values;
        } else {
          const std::int64_t k = ky * op_.kernel_w + kx;
          sums += values * Channels(task_.weights + k * op_.out_channels + channel);
        }
      }
    }
    if constexpr (kind == OperatorKind::avg_pool) sums /= static_cast<float>(taps.taps());
    Eigen::Map<Block>(tensors.output + row * task_.row_stride + channel) = sums;
  }

  CpuTask task_;
  const Operator& op_;
  ThreadPool& pool_;
};

}  // namespace

std::unique_ptr<CpuOperator> make_eigen_channelwise(const CpuTask& task, ThreadPool& pool) {
  return std::make_unique<Channelwise>(task, pool);
}

}  // namespace splitfleet
