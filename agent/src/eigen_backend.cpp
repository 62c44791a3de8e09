// Eigen: a matrix product into the strided output, behind im2col for convolutions.
#include "eigen_backend.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include "cpu_parts.hpp"
#include "eigen_channelwise.hpp"

namespace splitfleet {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::OuterStride<Eigen::Dynamic>;
using ConstMap = Eigen::Map<const Matrix, 0, Strided>;
using Map = Eigen::Map<Matrix, 0, Strided>;

// Below this many rows a thread, Eigen's packing of the weights, which every thread would repeat, costs more
// than it brings.
constexpr std::int64_t kLeastRowsPerThread = 64;
// A tile of patches should stay in a core's second-level cache beside the packed weights.
constexpr std::int64_t kPatchTileFloats = 128 * 1024;
constexpr std::int64_t kLeastTileRows = 32;
constexpr std::int64_t kDeepestForLeast = 64 * 1024;  // patches deeper than this are tiled one by one
constexpr std::int64_t kMostTileRows = 512;

class EigenProduct : public CpuOperator {
 public:
  EigenProduct(const CpuTask& task, ThreadPool& pool) : task_(task), op_(task_.op), pool_(pool) {}

  void run(const CpuTensors& tensors) override {
    const bool by_rows = op_.rows() >= kLeastRowsPerThread * pool_.size();
    pool_.run([&](int index) {
      const Range rows = by_rows ? share(op_.rows(), 1, index, pool_.size()) : Range{0, op_.rows()};
      // Whole 64-byte lines: two threads never write to the same one.
      const Range columns =
          by_rows ? Range{0, op_.out_channels} : share(op_.out_channels, 16, index, pool_.size());
      if (rows.count == 0 || columns.count == 0) return;
      const ConstMap a(tensors.input + rows.first * op_.depth(), rows.count, op_.depth(),
                       Strided(op_.depth()));
      const ConstMap b(task_.weights + columns.first, op_.depth(), columns.count, Strided(op_.out_channels));
      Map c(tensors.output + rows.first * task_.row_stride + columns.first, rows.count, columns.count,
            Strided(task_.row_stride));
      c.noalias() = a * b;
      apply_epilogue(task_, tensors, rows, columns);
    });
  }

 private:
  CpuTask task_;
  const Operator& op_;
  ThreadPool& pool_;
};

class EigenConvolution : public CpuOperator {
 public:
  EigenConvolution(const CpuTask& task, ThreadPool& pool)
      : task_(task),
        op_(task_.op),
        pool_(pool),
        tile_rows_(op_.depth() > kDeepestForLeast
                       ? 1
                       : std::clamp(kPatchTileFloats / op_.depth(), kLeastTileRows, kMostTileRows)),
        patches_(static_cast<std::size_t>(pool.size())) {
    for (Matrix& tile : patches_) tile.resize(std::min(tile_rows_, op_.rows()), op_.depth());
  }

  void run(const CpuTensors& tensors) override {
    const ConstMap weights(task_.weights, op_.depth(), op_.out_channels, Strided(op_.out_channels));
    pool_.run([&](int index) {
      const Range rows = share(op_.rows(), 1, index, pool_.size());
      Matrix& patches = patches_[static_cast<std::size_t>(index)];
      for (std::int64_t done = 0; done < rows.count; done += tile_rows_) {
        const std::int64_t first = rows.first + done;
        const std::int64_t count = std::min(tile_rows_, rows.count - done);
        for (std::int64_t i = 0; i < count; ++i) copy_patch(tensors.input, first + i, patches.row(i).data());
        Map c(tensors.output + first * task_.row_stride, count, op_.out_channels, Strided(task_.row_stride));
        c.noalias() = patches.topRows(count) * weights;
        apply_epilogue(task_, tensors, {first, count}, {0, op_.out_channels});
      }
    });
  }

 private:
  // One row of the im2col matrix: the input under the kernel at output pixel `pixel`, zero outside the image.
  void copy_patch(const float* input, std::int64_t pixel, float* patch) const {
    const std::int64_t top = pixel / op_.out_width() * op_.stride - op_.pad_h;
    const std::int64_t left = pixel % op_.out_width() * op_.stride - op_.pad_w;
    const auto [skip, last] = inside(left, op_.kernel_w, op_.width);
    const std::int64_t channels = op_.in_channels;
    for (std::int64_t ky = 0; ky < op_.kernel_h; ++ky, patch += op_.kernel_w * channels) {
      const std::int64_t y = top + ky;
      if (y < 0 || y >= op_.height || skip == last) {
        std::fill_n(patch, op_.kernel_w * channels, 0.0F);
        continue;
      }
      std::fill_n(patch, skip * channels, 0.0F);
      std::copy_n(input + (y * op_.width + left + skip) * channels, (last - skip) * channels,
                  patch + skip * channels);
      std::fill_n(patch + last * channels, (op_.kernel_w - last) * channels, 0.0F);
    }
  }

  CpuTask task_;
  const Operator& op_;
  ThreadPool& pool_;
  std::int64_t tile_rows_;
  std::vector<Matrix> patches_;
};

class EmptyOperator : public CpuOperator {
 public:
  explicit EmptyOperator(ThreadPool& pool) : pool_(pool) {}

  void run(const CpuTensors&) override {
    pool_.run([](int) {});
  }

 private:
  ThreadPool& pool_;
};

class EigenBackend : public CpuBackend {
 public:
  std::string name() const override { return "eigen"; }
  std::string version() const override {
    return "eigen-" + std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
           std::to_string(EIGEN_MINOR_VERSION);
  }
  std::unique_ptr<CpuOperator> prepare(const CpuTask& task, ThreadPool& pool) override {
    if (task.op.is_channelwise()) return make_eigen_channelwise(task, pool);
    if (task.op.is_product()) return std::make_unique<EigenProduct>(task, pool);
    return std::make_unique<EigenConvolution>(task, pool);
  }
  std::unique_ptr<CpuOperator> prepare_empty(ThreadPool& pool) override {
    return std::make_unique<EmptyOperator>(pool);
  }
  void on_each_thread(ThreadPool& pool, const std::function<void(int)>& body) override { pool.run(body); }
};

}  // namespace

std::unique_ptr<CpuBackend> make_eigen_backend() {
  return std::make_unique<EigenBackend>();
}

}  // namespace splitfleet
