// Depthwise convolutions and pooling: vectors run along the channels, threads share the output rows.
#include <Eigen/Core>
#include <algorithm>
#include <limits>

#include "eigen_parts.hpp"

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

class Channelwise : public CpuOperator {
 public:
  Channelwise(const Operator& op, const float* weights, ThreadPool& pool)
      : op_(op), weights_(weights), pool_(pool) {}

  void run(const CpuTensors& tensors) override {
    pool_.run([&](int index) {
      const Range rows = share(op_.rows(), 1, index, pool_.size());
      for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row) compute(tensors, row);
      apply_epilogue(op_.epilogue, tensors, rows, {0, op_.out_channels});
    });
  }

 private:
  Window window(std::int64_t row) const {
    const std::int64_t top = row / op_.out_width() * op_.stride - op_.pad_h;
    const std::int64_t left = row % op_.out_width() * op_.stride - op_.pad_w;
    return {top, left, inside(top, op_.kernel_h, op_.height), inside(left, op_.kernel_w, op_.width)};
  }

  void compute(const CpuTensors& tensors, std::int64_t row) const {
    const Window taps = window(row);
    std::int64_t channel = 0;
    for (; channel + kBlock <= op_.out_channels; channel += kBlock) {
      compute_block<Eigen::Array<float, kBlock, 1>>(tensors, row, taps, channel, kBlock);
    }
    using Rest = Eigen::Array<float, Eigen::Dynamic, 1, Eigen::ColMajor, kBlock, 1>;
    if (channel < op_.out_channels) {
      compute_block<Rest>(tensors, row, taps, channel, op_.out_channels - channel);
    }
  }

  template <typename Block>
  void compute_block(const CpuTensors& tensors, std::int64_t row, const Window& taps, std::int64_t channel,
                     std::int64_t count) const {
    using Channels = Eigen::Map<const Block>;
    const bool is_max = op_.kind == OperatorKind::max_pool;
    Block sums = Block::Constant(count, is_max ? std::numeric_limits<float>::lowest() : 0.0F);
    for (std::int64_t ky = taps.down.first; ky < taps.down.last; ++ky) {
      for (std::int64_t kx = taps.across.first; kx < taps.across.last; ++kx) {
        const std::int64_t pixel = (taps.top + ky) * op_.width + taps.left + kx;
        const Channels values(tensors.input + pixel * tensors.row_stride + channel, count);
        if (is_max) {
          sums = sums.max(values);
        } else if (op_.kind == OperatorKind::avg_pool) {
          sums += values;
        } else {
          sums += values * Channels(weights_ + (ky * op_.kernel_w + kx) * op_.out_channels + channel, count);
        }
      }
    }
    if (op_.kind == OperatorKind::avg_pool) sums /= static_cast<float>(taps.taps());
    Eigen::Map<Block>(tensors.output + row * tensors.row_stride + channel, count) = sums;
  }

  Operator op_;
  const float* weights_;
  ThreadPool& pool_;
};

}  // namespace

std::unique_ptr<CpuOperator> make_eigen_channelwise(const Operator& op, const float* weights,
                                                    ThreadPool& pool) {
  return std::make_unique<Channelwise>(op, weights, pool);
}

}  // namespace splitfleet
