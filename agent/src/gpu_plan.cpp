#include "gpu_plan.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

#include "clock.hpp"
#include "event_times.hpp"
#include "grace.hpp"
#include "pause.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kSignalBytes = 64;
constexpr std::int64_t kPollDeadlineNs = 5'000'000'000;
constexpr std::int64_t kStartDeadlineUs = 60'000'000;
constexpr std::chrono::milliseconds kStartPause{1};
constexpr int kLooksPerClockRead = 1024;

bool needs_host_access(BufferRole role) {
  return role == BufferRole::input || role == BufferRole::output || role == BufferRole::payload ||
         role == BufferRole::residual;
}

}  // namespace

GpuPlan::GpuPlan(const ClDevice& device, cl_program program, const LaunchPlan& plan, Join join,
                 MemoryBudget& budget, const std::map<BufferRole, Buffer*>& given)
    : device_(device), api_(device.api()), join_(join), signals_(plan.signals) {
  require_precision(plan);
  if (join == Join::svm_poll) {
    require_pollable(plan);
    signal_ = std::make_unique<Buffer>(&device, Buffer::Use::shared, kSignalBytes, budget);
    static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);
    counter_ = new (signal_->map(CL_MAP_WRITE)) std::atomic<std::uint32_t>(0);
  }
  for (const PlanBuffer& planned : plan.buffers) {
    if (const auto found = given.find(planned.role); found != given.end()) {
      buffers_.push_back(found->second);
      continue;
    }
    const auto use = needs_host_access(planned.role) ? Buffer::Use::shared : Buffer::Use::device;
    owned_.push_back(planned.image ? std::make_unique<Buffer>(device, *planned.image, planned.type, budget)
                                   : std::make_unique<Buffer>(&device, use, planned.bytes, budget));
    buffers_.push_back(owned_.back().get());
  }
  try {
    for (const PlanLaunch& planned : plan.setup) setup_.push_back(prepared(program, planned, nullptr));
    for (const PlanLaunch& planned : plan.launches) {
      launches_.push_back(prepared(program, planned, signal_.get()));
    }
  } catch (...) {
    release_kernels();
    throw;
  }
}

GpuPlan::~GpuPlan() {
  // A kernel may still run: its buffers must outlive it. Should it hang, the supervisor ends the process.
  api_.clFinish(device_.queue());
  release_events();
  release_kernels();
}

void GpuPlan::require_pollable(const LaunchPlan& plan) const {
  if (!device_.svm().fine_buffer || !device_.svm().atomics) {
    throw JobError(Status::unsupported,
                   "svm_poll needs fine-grained SVM buffers with atomics, which this device lacks");
  }
  if (plan.signals == 0) {
    throw JobError(Status::invalid_job, "plan.signals: svm_poll needs a plan that signals at least once");
  }
}

void GpuPlan::require_precision(const LaunchPlan& plan) const {
  if (plan.precision == Precision::fp16 && !device_.has_extension("cl_khr_fp16")) {
    throw JobError(Status::unsupported, "plan.precision: fp16 needs cl_khr_fp16, which this device lacks");
  }
}

GpuPlan::Launch GpuPlan::prepared(cl_program program, const PlanLaunch& planned, const Buffer* signal) const {
  cl_int code = CL_SUCCESS;
  Launch launch;
  launch.global = planned.global;
  launch.local = planned.local;
  launch.kernel = api_.clCreateKernel(program, planned.kernel.c_str(), &code);
  ClDevice::check(code, "kernel " + one_line(planned.kernel, 80));
  try {
    cl_uint index = 0;
    for (const PlanArgument& argument : planned.arguments) set_argument(launch, index++, argument, signal);
  } catch (...) {
    api_.clReleaseKernel(launch.kernel);
    throw;
  }
  return launch;
}

void GpuPlan::set_argument(Launch& launch, cl_uint index, const PlanArgument& argument,
                           const Buffer* signal) const {
  switch (argument.kind) {
    case PlanArgument::Kind::buffer:
      buffers_[argument.buffer]->set_argument(launch.kernel, index);
      return;
    case PlanArgument::Kind::signal:
      if (signal != nullptr) {
        signal->set_argument(launch.kernel, index);
      } else {
        ClDevice::check(api_.clSetKernelArg(launch.kernel, index, sizeof(cl_mem), nullptr),
                        "signal argument");
      }
      return;
    case PlanArgument::Kind::sequence:
      launch.sequence_arguments.push_back(index);
      [[fallthrough]];
    case PlanArgument::Kind::integer:
      ClDevice::check(api_.clSetKernelArg(launch.kernel, index, sizeof(argument.value), &argument.value),
                      "kernel argument " + std::to_string(index));
  }
}

void GpuPlan::enqueue_launch(const Launch& launch, const std::string& what, cl_event* event) const {
  ClDevice::check(
      api_.clEnqueueNDRangeKernel(device_.queue(), launch.kernel, static_cast<cl_uint>(launch.global.size()),
                                  nullptr, launch.global.data(), launch.local.data(), 0, nullptr, event),
      what);
}

void GpuPlan::set_up() {
  for (const Launch& launch : setup_) enqueue_launch(launch, "setup launch", nullptr);
  if (!setup_.empty()) ClDevice::check(api_.clFinish(device_.queue()), "clFinish after the setup launches");
}

void GpuPlan::prime() {
  enqueue();
  if (join_ == Join::svm_poll) wait_until_running();
  join();
  take_times();
}

void GpuPlan::wait_until_running() const {
  // A driver may build the kernel only now.
  const std::int64_t patience_us = std::max(kStartDeadlineUs, grace_us());
  const std::int64_t deadline_ns = now_ns() + 1000 * patience_us;
  for (cl_int state = CL_QUEUED; state > CL_RUNNING;) {
    ClDevice::check(
        api_.clGetEventInfo(last_, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(state), &state, nullptr),
        "clGetEventInfo");
    if (now_ns() > deadline_ns) {
      throw JobError(Status::timeout, "the last launch did not start within " +
                                          std::to_string(patience_us / 1'000'000) + " s");
    }
    std::this_thread::sleep_for(kStartPause);
  }
}

void GpuPlan::enqueue(std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) enqueue_once(i == 0, i + 1 == count);
  ClDevice::check(api_.clFlush(device_.queue()), "clFlush");
}

// The first launch of the first execution and the last one of the last have events.
void GpuPlan::enqueue_once(bool is_first, bool is_last) {
  // Wraps around like the counter does; the kernels only compare for equality.
  sequence_ = static_cast<std::int32_t>(static_cast<std::uint32_t>(sequence_) + 1U);
  expected_ += signals_;
  for (std::size_t i = 0; i < launches_.size(); ++i) {
    const Launch& launch = launches_[i];
    for (const cl_uint index : launch.sequence_arguments) {
      ClDevice::check(api_.clSetKernelArg(launch.kernel, index, sizeof(sequence_), &sequence_),
                      "sequence argument");
    }
    const bool ends = is_last && i + 1 == launches_.size();
    cl_event* event = ends ? &last_ : is_first && i == 0 ? &first_ : nullptr;
    enqueue_launch(launch, "launch " + std::to_string(i), event);
  }
}

void GpuPlan::join() {
  switch (join_) {
    case Join::svm_poll:
      poll();
      return;
    case Join::event_wait:
      ClDevice::check(api_.clWaitForEvents(1, &last_), "clWaitForEvents");
      return;
    case Join::finish:
      ClDevice::check(api_.clFinish(device_.queue()), "clFinish");
  }
}

void GpuPlan::poll() const {
  const std::int64_t deadline_ns = now_ns() + kPollDeadlineNs;
  for (int looks = 0;; ++looks) {
    // The counter wraps around: the sign of the difference tells which is ahead.
    const std::uint32_t ahead = counter_->load(std::memory_order_acquire) - expected_;
    if (ahead < 0x80000000U) return;
    pause_briefly();
    if (looks == kLooksPerClockRead) {
      looks = 0;
      if (now_ns() > deadline_ns) {
        throw JobError(Status::timeout, "the signal counter did not arrive within 5 s: it lacks " +
                                            std::to_string(expected_ - counter_->load()) + " of " +
                                            std::to_string(signals_) + " signals");
      }
    }
  }
}

EventTimes GpuPlan::take_times() {
  ClDevice::check(api_.clWaitForEvents(1, &last_), "clWaitForEvents");
  EventTimes times;
  ClDevice::check(read_event_times(api_, first_ != nullptr ? first_ : last_, last_, times),
                  "clGetEventProfilingInfo");
  release_events();
  return times;
}

void GpuPlan::release_events() {
  for (cl_event* event : {&first_, &last_}) {
    if (*event != nullptr) api_.clReleaseEvent(*event);
    *event = nullptr;
  }
}

void GpuPlan::release_kernels() {
  for (std::vector<Launch>* launches : {&setup_, &launches_}) {
    for (const Launch& launch : *launches) api_.clReleaseKernel(launch.kernel);
    launches->clear();
  }
}

}  // namespace splitfleet
