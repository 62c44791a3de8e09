// One repetition's work, made ready: the GPU half, the CPU half, or both, and how they are joined.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "job.hpp"
#include "machine.hpp"
#include "timed.hpp"
#include "values.hpp"

namespace splitfleet {

// The output as the host sees it after an execution.
struct OutputView {
  Elements elements;
  std::int64_t count = 0;
  Layout layout;

  float get(std::int64_t row, std::int64_t channel) const { return elements.get(layout.at(row, channel)); }
};

class Workload : public Timed {
 public:
  // Allocates, fills the operands and prepares both halves. `source` is the plan's program, where there is a
  // plan. Throws JobError.
  Workload(Machine& machine, const Work& work, const ProgramSource* source, MemoryBudget& budget);

  // Executes the GPU half once, so that its driver has compiled; before the first execute().
  void prime();
  void pin_caller() const override { pool_.pin_caller(); }
  // A chain of executions back to back, where the work asks for one.
  HostTimes execute() override;
  std::optional<EventTimes> settle() override;
  // As settle(), without waiting for the device's times: the next execution may be enqueued before the driver
  // has put the last one away.
  void settle_untimed();
  // Throws JobError(noisy) when a thread of this workload is no longer pinned where it belongs.
  void check_threads();

  const Work& work() const { return work_; }
  // What the operands hold.
  const Values& values() const { return values_; }
  // Fills the output with `value` (between executions).
  void fill_output(float value);
  // The output of the last execution; before settle().
  OutputView output();
  // Number of payload words that do not hold the last execution's sequence number; before settle().
  std::int64_t wrong_payload_words();

 private:
  void prepare_gpu(Machine& machine, const ProgramSource& source, MemoryBudget& budget);
  void prepare_cpu(Machine& machine, MemoryBudget& budget);
  void fill_operands();
  void pin_threads();
  void run_cpu_half();
  void gather();
  void unmap();

  const Work& work_;
  ThreadPool& pool_;
  Values values_;
  Layout input_layout_;
  Layout output_layout_;  // of the residual too
  ElementType input_type_ = ElementType::f32;
  ElementType residual_type_ = ElementType::f32;
  ElementType output_type_ = ElementType::f32;
  std::unique_ptr<GpuPlan> gpu_;
  std::unique_ptr<Buffer> own_input_;     // without a GPU half
  std::unique_ptr<Buffer> own_residual_;  // without a GPU half
  std::unique_ptr<Buffer> own_output_;  // without a GPU half, or where the host may not write beside a kernel
  std::unique_ptr<Buffer> cpu_weights_;
  CpuBackend* backend_ = nullptr;  // where there is a CPU half
  std::unique_ptr<CpuOperator> cpu_;
  Buffer* input_ = nullptr;
  Buffer* residual_ = nullptr;    // where the epilogue adds
  Buffer* output_ = nullptr;      // holds the whole result
  Buffer* cpu_output_ = nullptr;  // where the CPU half writes
};

}  // namespace splitfleet
