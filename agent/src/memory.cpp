#include "memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kAlignment = 64;

}  // namespace

std::size_t machine_memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

MemoryBudget::MemoryBudget() : limit_(machine_memory_bytes() / 2) {
  const char* chosen = std::getenv("SPLITFLEET_MAX_BYTES");
  if (chosen == nullptr || *chosen == '\0') return;
  char* end = nullptr;
  limit_ = std::strtoull(chosen, &end, 10);
  if (*chosen == '-' || *end != '\0' || limit_ == 0) {
    throw AgentError(kExitUsage, "SPLITFLEET_MAX_BYTES: " + std::string(chosen) +
                                     " is no number of bytes; give one above 0, or unset it");
  }
}

void MemoryBudget::take(std::size_t bytes) {
  if (bytes > limit_ - taken_) {
    throw JobError(Status::invalid_job, "the job needs more than the " + std::to_string(limit_) +
                                            " bytes of memory that this agent allows (SPLITFLEET_MAX_BYTES)");
  }
  taken_ += bytes;
}

Buffer::Buffer(const ClDevice* device, Use use, std::size_t bytes, MemoryBudget& budget)
    : device_(device), bytes_(bytes) {
  budget.take(bytes);
  if (device != nullptr && use == Use::shared && device->svm().fine_buffer) {
    const cl_bitfield atomics = device->svm().atomics ? CL_MEM_SVM_ATOMICS : 0;
    host_ = device->api().clSVMAlloc(device->context(),
                                     CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER | atomics,
                                     bytes + kSlackBytes, kAlignment);
    if (host_ == nullptr) {
      throw JobError(Status::out_of_resources, "clSVMAlloc failed for " + std::to_string(bytes) + " bytes");
    }
    is_svm_ = true;
    std::memset(host_, 0, bytes + kSlackBytes);
  } else if (device != nullptr) {
    cl_int code = CL_SUCCESS;
    memory_ = device->api().clCreateBuffer(device->context(), CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
                                           bytes + kSlackBytes, nullptr, &code);
    ClDevice::check(code, "clCreateBuffer of " + std::to_string(bytes) + " bytes");
    std::memset(map(CL_MAP_WRITE), 0, bytes);
    unmap();
  } else {
    host_ = ::operator new(bytes + kSlackBytes, std::align_val_t(kAlignment));
    std::memset(host_, 0, bytes + kSlackBytes);
  }
}

Buffer::Buffer(const ClDevice& device, const ImageShape& image, ElementType type, MemoryBudget& budget)
    : device_(&device), bytes_(image.bytes(type)) {
  budget.take(bytes_);
  const std::string what = std::to_string(image.width) + " x " + std::to_string(image.height) + " texels";
  if (!device.has_image(image.width, image.height)) {
    throw JobError(Status::unsupported, "the device has no images of " + what);
  }
  const cl_image_format format = {CL_RGBA, type == ElementType::f16 ? CL_HALF_FLOAT : CL_FLOAT};
  cl_image_desc shape{};
  shape.image_type = CL_MEM_OBJECT_IMAGE2D;
  shape.image_width = image.width;
  shape.image_height = image.height;
  cl_int code = CL_SUCCESS;
  memory_ = device.api().clCreateImage(device.context(), CL_MEM_READ_WRITE, &format, &shape, nullptr, &code);
  ClDevice::check(code, "clCreateImage of " + what);
  const std::array<float, 4> zero{};
  const std::array<std::size_t, 3> origin{};
  const std::array<std::size_t, 3> region = {image.width, image.height, 1};
  code = device.api().clEnqueueFillImage(device.queue(), memory_, zero.data(), origin.data(), region.data(),
                                         0, nullptr, nullptr);
  if (code != CL_SUCCESS) device.api().clReleaseMemObject(memory_);
  ClDevice::check(code, "clEnqueueFillImage of " + what);
}

Buffer::~Buffer() {
  if (memory_ != nullptr) {
    if (host_ != nullptr)
      device_->api().clEnqueueUnmapMemObject(device_->queue(), memory_, host_, 0, nullptr, nullptr);
    device_->api().clReleaseMemObject(memory_);
  } else if (is_svm_) {
    device_->api().clSVMFree(device_->context(), host_);
  } else {
    ::operator delete(host_, std::align_val_t(kAlignment));
  }
}

void* Buffer::map(cl_bitfield flags) {
  if (memory_ == nullptr || host_ != nullptr) return host_;
  cl_int code = CL_SUCCESS;
  host_ = device_->api().clEnqueueMapBuffer(device_->queue(), memory_, CL_TRUE, flags, 0, bytes_, 0, nullptr,
                                            nullptr, &code);
  ClDevice::check(code, "clEnqueueMapBuffer");
  return host_;
}

void Buffer::unmap() {
  if (memory_ == nullptr || host_ == nullptr) return;
  void* mapped = host_;
  host_ = nullptr;
  ClDevice::check(
      device_->api().clEnqueueUnmapMemObject(device_->queue(), memory_, mapped, 0, nullptr, nullptr),
      "clEnqueueUnmapMemObject");
}

void Buffer::set_argument(cl_kernel kernel, cl_uint index) const {
  const cl_int code = memory_ == nullptr
                          ? device_->api().clSetKernelArgSVMPointer(kernel, index, host_)
                          : device_->api().clSetKernelArg(kernel, index, sizeof(memory_), &memory_);
  ClDevice::check(code, "kernel argument " + std::to_string(index));
}

}  // namespace splitfleet
