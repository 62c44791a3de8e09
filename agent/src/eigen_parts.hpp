// What the Eigen operators share: dealing rows out to threads, and epilogues.
#pragma once

#include <cstdint>
#include <memory>

#include "cpu_backend.hpp"

namespace splitfleet {

struct Range {
  std::int64_t first;
  std::int64_t count;
};

// The share of thread `index` when `total` items are dealt out in blocks of `block`.
Range share(std::int64_t total, std::int64_t block, int index, int threads);

// Finishes output[rows, columns] in place.
void apply_epilogue(Epilogue epilogue, const CpuTensors& tensors, Range rows, Range columns);

// Depthwise convolutions and pooling.
std::unique_ptr<CpuOperator> make_eigen_channelwise(const Operator& op, const float* weights,
                                                    ThreadPool& pool);

}  // namespace splitfleet
