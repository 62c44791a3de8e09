// The library that computes the CPU's half of an operator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "operator.hpp"
#include "thread_pool.hpp"

namespace splitfleet {

// One operator (or the first channels of one) with its weights, ready to run again and again.
class CpuOperator {
 public:
  virtual ~CpuOperator() = default;
  // Reads the whole input [height, width, in_channels]; writes element (row, o) to output[row * row_stride +
  // o].
  virtual void run(const float* input, float* output, std::int64_t row_stride) = 0;
};

class CpuBackend {
 public:
  virtual ~CpuBackend() = default;
  // Name and version, as results and tables carry it.
  virtual std::string name() const = 0;
  // `weights` is the row-major matrix [depth, out_channels] of `op`; it and `pool` must outlive the result.
  virtual std::unique_ptr<CpuOperator> prepare(const Operator& op, const float* weights,
                                               ThreadPool& pool) const = 0;
};

std::unique_ptr<CpuBackend> make_eigen_backend();

}  // namespace splitfleet
