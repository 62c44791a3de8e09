// Memory that CPU and GPU share, and the bound on how much of it one job may take.
#pragma once

#include <cstddef>
#include <string>

#include "cl_device.hpp"
#include "elements.hpp"

namespace splitfleet {

// What one job may allocate in all: SPLITFLEET_MAX_BYTES, or half of the machine's memory.
class MemoryBudget {
 public:
  MemoryBudget();
  // Throws JobError(invalid_job) when the job's total passes the bound.
  void take(std::size_t bytes);

 private:
  std::size_t limit_;
  std::size_t taken_ = 0;
};

std::size_t machine_memory_bytes();

// The size of a two-dimensional image, in texels of four channels.
struct ImageShape {
  std::size_t width = 1;
  std::size_t height = 1;

  std::size_t bytes(ElementType type) const { return width * height * 4 * bytes_of(type); }
};

// One allocation of its own, aligned to 64 bytes, zero-filled.
class Buffer {
 public:
  // Where the bytes live. `shared` is fine-grained SVM on devices that have it, else an OpenCL buffer that
  // the host maps (or, without OpenCL, plain memory); `device` is an OpenCL buffer that only the GPU uses
  // once it is filled.
  enum class Use { shared, device };
  // Readable bytes behind the end: vector loads of CPU libraries reach over it (XNNPACK's XNN_EXTRA_BYTES).
  static constexpr std::size_t kSlackBytes = 64;

  // `device` may be null: plain host memory.
  Buffer(const ClDevice* device, Use use, std::size_t bytes, MemoryBudget& budget);
  // An image2d of RGBA texels, which only kernels use. Throws JobError(unsupported) where the device has no
  // such images.
  Buffer(const ClDevice& device, const ImageShape& image, ElementType type, MemoryBudget& budget);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::size_t bytes() const { return bytes_; }
  // The OpenCL object; null where the bytes are shared virtual memory or the host's own.
  cl_mem memory() const { return memory_; }
  // True when the host may use the bytes while a kernel does.
  bool is_concurrent() const { return memory_ == nullptr; }
  // The bytes for the host, valid until unmap; waits for the queue unless is_concurrent.
  void* map(cl_bitfield flags);
  float* map_floats(cl_bitfield flags) { return static_cast<float*>(map(flags)); }
  void unmap();
  void set_argument(cl_kernel kernel, cl_uint index) const;

 private:
  const ClDevice* device_;
  std::size_t bytes_;
  cl_mem memory_ = nullptr;
  void* host_ = nullptr;  // SVM or plain memory, or where memory_ is mapped now
  bool is_svm_ = false;
};

}  // namespace splitfleet
