// The libraries that compute the CPU's half of an operator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "operator.hpp"
#include "thread_pool.hpp"

namespace splitfleet {

// What a backend gets ready. Rows of output and residual, and pixels of a channelwise operator's input, are
// `row_stride` floats apart; a dense operator's input is [height, width, in_channels].
struct CpuTask {
  Operator op;
  const float* weights = nullptr;  // row-major [depth, out_channels]
  std::int64_t row_stride = 0;
};

// The memory that one execution works on. Libraries may read up to Buffer::kSlackBytes past the ends.
struct CpuTensors {
  const float* input = nullptr;
  const float* residual = nullptr;  // where the epilogue adds
  float* output = nullptr;
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
  // The weights and `pool` must outlive the result, which works on the pool's cores. Throws
  // JobError(unsupported) for an operator that the library lacks.
  virtual std::unique_ptr<CpuOperator> prepare(const CpuTask& task, ThreadPool& pool) = 0;
  // An operator that does nothing, on all of the pool's cores: what waking and joining them costs.
  virtual std::unique_ptr<CpuOperator> prepare_empty(ThreadPool& pool) = 0;
  // Calls body(i) once on the thread that works on the pool's i-th core, for every i.
  virtual void on_each_thread(ThreadPool& pool, const std::function<void(int)>& body) = 0;
};

// The backends that are built in. The first is Eigen, which is always there and needs nothing of the system.
std::vector<std::unique_ptr<CpuBackend>> make_cpu_backends();

}  // namespace splitfleet
