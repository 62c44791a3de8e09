#include "gate.hpp"

#include <atomic>
#include <cstdint>
#include <new>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kWords = 16;  // a cache line of the gate's own
constexpr cl_int kMostLooks =
    50'000'000;  // PoCL takes a quarter of a second for so many, phones some seconds

class EventGate : public Gate {
 public:
  explicit EventGate(const ClDevice& device) : device_(device), api_(device.api()) {
    if (api_.clCreateUserEvent == nullptr || api_.clSetUserEventStatus == nullptr ||
        api_.clEnqueueBarrierWithWaitList == nullptr) {
      throw JobError(Status::unsupported, "this OpenCL library has no user events");
    }
  }

  ~EventGate() override {
    if (event_ == nullptr) return;
    // Nothing may be left waiting for ever.
    api_.clSetUserEventStatus(event_, CL_COMPLETE);
    api_.clReleaseEvent(event_);
  }

  void close() override {
    cl_int code = CL_SUCCESS;
    event_ = api_.clCreateUserEvent(device_.context(), &code);
    ClDevice::check(code, "clCreateUserEvent");
    ClDevice::check(api_.clEnqueueBarrierWithWaitList(device_.queue(), 1, &event_, nullptr),
                    "clEnqueueBarrierWithWaitList");
  }

  void open() override {
    const cl_int code = api_.clSetUserEventStatus(event_, CL_COMPLETE);
    api_.clReleaseEvent(event_);
    event_ = nullptr;
    ClDevice::check(code, "clSetUserEventStatus");
  }

  void check() override {}

 private:
  const ClDevice& device_;
  const ClApi& api_;
  cl_event event_ = nullptr;
};

class PollingGate : public Gate {
 public:
  PollingGate(const ClDevice& device, cl_program program, const std::string& kernel, MemoryBudget& budget)
      : device_(device), api_(device.api()) {
    if (!device.svm().fine_buffer || !device.svm().atomics)
      throw JobError(Status::unsupported, "polling by the GPU needs atomics in fine-grained SVM");
    words_ = std::make_unique<Buffer>(&device, Buffer::Use::shared, kWords * sizeof(std::int32_t), budget);
    auto* words = static_cast<std::int32_t*>(words_->map(CL_MAP_WRITE));
    opened_ = new (&words[0]) std::atomic<std::int32_t>(0);
    given_up_ = new (&words[1]) std::atomic<std::int32_t>(0);
    cl_int code = CL_SUCCESS;
    kernel_ = api_.clCreateKernel(program, kernel.c_str(), &code);
    ClDevice::check(code, "the gate's kernel");
    words_->set_argument(kernel_, 0);
    set_argument(2, kMostLooks);
    // Open as it is: what the driver does with a kernel's first launch shall not be taken for the CPU's half.
    launch();
    ClDevice::check(api_.clFinish(device_.queue()), "clFinish after the gate's first launch");
  }

  ~PollingGate() override {
    opened_->store(closed_, std::memory_order_release);
    api_.clFinish(device_.queue());
    api_.clReleaseKernel(kernel_);
  }

  void close() override {
    // Wraps around: the sign of the difference tells which is ahead. The host may be ahead by several.
    closed_ = static_cast<std::int32_t>(static_cast<std::uint32_t>(closed_) + 1U);
    launch();
  }

  void open() override { opened_->store(closed_, std::memory_order_release); }

  void check() override {
    if (given_up_->load(std::memory_order_acquire) == 0) return;
    throw JobError(Status::timeout, "the GPU gave up waiting for the CPU");
  }

 private:
  void launch() {
    set_argument(1, closed_);
    const std::size_t one = 1;
    ClDevice::check(
        api_.clEnqueueNDRangeKernel(device_.queue(), kernel_, 1, nullptr, &one, &one, 0, nullptr, nullptr),
        "the gate's launch");
  }

  void set_argument(cl_uint index, cl_int value) {
    ClDevice::check(api_.clSetKernelArg(kernel_, index, sizeof(value), &value), "the gate's argument");
  }

  const ClDevice& device_;
  const ClApi& api_;
  std::unique_ptr<Buffer> words_;
  std::atomic<std::int32_t>* opened_ = nullptr;
  std::atomic<std::int32_t>* given_up_ = nullptr;
  cl_kernel kernel_ = nullptr;
  std::int32_t closed_ = 0;
};

}  // namespace

std::unique_ptr<Gate> make_event_gate(const ClDevice& device) {
  return std::make_unique<EventGate>(device);
}

std::unique_ptr<Gate> make_polling_gate(const ClDevice& device, cl_program program, const std::string& kernel,
                                        MemoryBudget& budget) {
  return std::make_unique<PollingGate>(device, program, kernel, budget);
}

}  // namespace splitfleet
