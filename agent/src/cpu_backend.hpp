// The libraries that compute the CPU's half of an operator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "operator.hpp"
#include "thread_pool.hpp"

namespace splitfleet {

// The memory that one execution works on. Rows of output and residual, and pixels of a channelwise
// operator's input, are `row_stride` floats apart; a dense operator's input is [height, width, in_channels].
struct CpuTensors {
  const float* input = nullptr;
  const float* residual = nullptr;  // where the epilogue adds
  float* output = nullptr;
  std::int64_t row_stride = 0;
};

// One operator (or the first channels of one) with its weights, ready to run again and again.
class CpuOperator {
 public:
  virtual ~CpuOperator() = default;
  // Returns when the output is complete.
  virtual void run(const CpuTensors& tensors) = 0;
};

class CpuBackend {
 public:
  virtual ~CpuBackend() = default;
  // As jobs name it.
  virtual std::string name() const = 0;
  // Name and version, as results and tables carry it.
  virtual std::string version() const = 0;
  // `weights` is the row-major matrix [depth, out_channels] of `op`; it and `pool` must outlive the result,
  // which works on the pool's cores. Throws JobError(unsupported) for an operator that the library lacks.
  virtual std::unique_ptr<CpuOperator> prepare(const Operator& op, const float* weights,
                                               ThreadPool& pool) = 0;
  // An operator that does nothing, on all of the pool's cores: what waking and joining them costs.
  virtual std::unique_ptr<CpuOperator> prepare_empty(ThreadPool& pool) = 0;
};

// The backends that are built in. The first is Eigen, which is always there and needs nothing of the system.
std::vector<std::unique_ptr<CpuBackend>> make_cpu_backends();

}  // namespace splitfleet
