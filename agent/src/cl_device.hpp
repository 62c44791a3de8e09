// One OpenCL device with its context, its queue and its capabilities.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cl_api.hpp"
#include "json.hpp"

namespace splitfleet {

struct SvmSupport {
  bool coarse = false;
  bool fine_buffer = false;
  bool fine_system = false;
  bool atomics = false;
};

class ClDevice {
 public:
  // Chooses the first GPU of any platform, else the first device. SPLITFLEET_OPENCL_PLATFORM, when set, is a
  // text that the platform's name or version must contain. SPLITFLEET_DISABLE_SVM=1 makes the device one
  // without shared virtual memory. Throws std::runtime_error when there is no usable device.
  static std::unique_ptr<ClDevice> open();
  ~ClDevice();
  ClDevice(const ClDevice&) = delete;
  ClDevice& operator=(const ClDevice&) = delete;

  const ClApi& api() const { return api_; }
  cl_context context() const { return context_; }
  cl_device_id id() const { return device_; }
  cl_command_queue queue() const { return queue_; }
  const SvmSupport& svm() const { return svm_; }
  // The `opencl` object of `splitfleet-agent info`.
  Json describe() const;
  std::string platform_version() const;
  bool has_extension(const std::string& name) const;
  // Whether an image2d of this size, in texels, is within the device's limits.
  bool has_image(std::size_t width, std::size_t height) const;

  // Throws JobError with the status that belongs to the OpenCL error `code`; does nothing for CL_SUCCESS.
  static void check(cl_int code, const std::string& what);

 private:
  explicit ClDevice(const ClApi& api) : api_(api) {}
  void choose();
  void read_svm();
  std::string platform_text(cl_platform_id platform, cl_uint name) const;
  std::string device_text(cl_uint name) const;
  template <typename T>
  T device_value(cl_uint name) const;

  ClApi api_;
  cl_platform_id platform_ = nullptr;
  cl_device_id device_ = nullptr;
  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
  SvmSupport svm_;
};

}  // namespace splitfleet
