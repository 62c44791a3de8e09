// A launch plan made ready on the device: its buffers, its kernels with their arguments, its signal counter.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch_plan.hpp"
#include "memory.hpp"
#include "timed.hpp"

namespace splitfleet {

// How the host learns that the GPU's part is done.
enum class Join { svm_poll, event_wait, finish };

class GpuPlan {
 public:
  // `given` takes the place of the plan's buffers of these roles, and must outlive this. Throws JobError:
  // unsupported for svm_poll without fine-grained SVM and atomics, invalid_job for a plan that cannot be
  // joined so, or what OpenCL refuses.
  GpuPlan(const ClDevice& device, cl_program program, const LaunchPlan& plan, Join join, MemoryBudget& budget,
          const std::map<BufferRole, Buffer*>& given = {});
  ~GpuPlan();
  GpuPlan(const GpuPlan&) = delete;
  GpuPlan& operator=(const GpuPlan&) = delete;

  Buffer& buffer(std::size_t index) { return *buffers_[index]; }
  // The number of the execution that was enqueued last, starting at 1.
  std::int32_t sequence() const { return sequence_; }

  // Executes the plan's setup launches, which are never timed: call once the weights are filled.
  void set_up();
  // Executes once. Some drivers compile at the first launch, for seconds, which is neither to be timed nor to
  // be taken for a signal that stays out: a poll's deadline counts from the start of the last launch. Throws
  // as join().
  void prime();
  // Enqueues `count` executions back to back and flushes the queue. join() and take_times() then speak of all
  // of them.
  void enqueue(std::int64_t count = 1);
  // Returns when the execution's results are visible to the host. Throws JobError(timeout) when a polled
  // signal stays out.
  void join();
  // Waits for the execution's events, reads their times and releases them: after the timed region.
  EventTimes take_times();
  // Lets the execution's times go.
  void release_events();

 private:
  struct Launch {
    cl_kernel kernel = nullptr;
    std::vector<std::size_t> global;
    std::vector<std::size_t> local;
    std::vector<cl_uint> sequence_arguments;
  };

  void require_pollable(const LaunchPlan& plan) const;
  void require_precision(const LaunchPlan& plan) const;
  Launch prepared(cl_program program, const PlanLaunch& planned, const Buffer* signal) const;
  void set_argument(Launch& launch, cl_uint index, const PlanArgument& argument, const Buffer* signal) const;
  void enqueue_launch(const Launch& launch, const std::string& what, cl_event* event) const;
  void wait_until_running() const;
  void enqueue_once(bool is_first, bool is_last);
  void poll() const;
  void release_kernels();

  const ClDevice& device_;
  const ClApi& api_;
  Join join_;
  std::vector<std::unique_ptr<Buffer>> owned_;
  std::vector<Buffer*> buffers_;  // of the plan, in its order
  std::vector<Launch> launches_;
  std::vector<Launch> setup_;
  std::unique_ptr<Buffer> signal_;
  std::atomic<std::uint32_t>* counter_ = nullptr;
  std::uint32_t signals_;
  std::uint32_t expected_ = 0;
  std::int32_t sequence_ = 0;
  cl_event first_ = nullptr;
  cl_event last_ = nullptr;
};

}  // namespace splitfleet
