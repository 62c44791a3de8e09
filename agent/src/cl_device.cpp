#include "cl_device.hpp"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "status.hpp"

namespace splitfleet {
namespace {

Status status_of(cl_int code) {
  switch (code) {
    case CL_BUILD_PROGRAM_FAILURE:
    case CL_INVALID_BUILD_OPTIONS:
      return Status::build_failed;
    case CL_INVALID_KERNEL_NAME:
    case CL_INVALID_ARG_INDEX:
    case CL_INVALID_ARG_VALUE:
    case CL_INVALID_ARG_SIZE:
    case CL_INVALID_KERNEL_ARGS:
    case CL_INVALID_WORK_DIMENSION:
      return Status::invalid_job;
    case CL_IMAGE_FORMAT_NOT_SUPPORTED:
      return Status::unsupported;
    default:
      return Status::out_of_resources;
  }
}

std::string code_text(cl_int code) {
  switch (code) {
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
      return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
    case CL_IMAGE_FORMAT_NOT_SUPPORTED:
      return "CL_IMAGE_FORMAT_NOT_SUPPORTED";
    case CL_OUT_OF_RESOURCES:
      return "CL_OUT_OF_RESOURCES";
    case CL_OUT_OF_HOST_MEMORY:
      return "CL_OUT_OF_HOST_MEMORY";
    case CL_BUILD_PROGRAM_FAILURE:
      return "CL_BUILD_PROGRAM_FAILURE";
    case CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST:
      return "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST";
    case CL_INVALID_BUILD_OPTIONS:
      return "CL_INVALID_BUILD_OPTIONS";
    case CL_INVALID_KERNEL_NAME:
      return "CL_INVALID_KERNEL_NAME";
    case CL_INVALID_ARG_INDEX:
      return "CL_INVALID_ARG_INDEX";
    case CL_INVALID_ARG_VALUE:
      return "CL_INVALID_ARG_VALUE";
    case CL_INVALID_ARG_SIZE:
      return "CL_INVALID_ARG_SIZE";
    case CL_INVALID_KERNEL_ARGS:
      return "CL_INVALID_KERNEL_ARGS";
    case CL_INVALID_WORK_DIMENSION:
      return "CL_INVALID_WORK_DIMENSION";
    case CL_INVALID_WORK_GROUP_SIZE:
      return "CL_INVALID_WORK_GROUP_SIZE";
    case CL_INVALID_WORK_ITEM_SIZE:
      return "CL_INVALID_WORK_ITEM_SIZE";
    case CL_INVALID_BUFFER_SIZE:
      return "CL_INVALID_BUFFER_SIZE";
    default:
      return "OpenCL error " + std::to_string(code);
  }
}

// Reads a text by the two-call protocol of the clGet...Info functions.
template <typename Query>
std::string read_text(Query query) {
  std::size_t bytes = 0;
  if (query(0, nullptr, &bytes) != CL_SUCCESS || bytes == 0) return "";
  std::string text(bytes, '\0');
  if (query(bytes, &text[0], nullptr) != CL_SUCCESS) return "";
  return text.c_str();
}

std::string trimmed(const std::string& text) {
  const std::size_t last = text.find_last_not_of(' ');
  return last == std::string::npos ? "" : text.substr(0, last + 1);
}

}  // namespace

std::unique_ptr<ClDevice> ClDevice::open() {
  std::unique_ptr<ClDevice> opened(new ClDevice(ClApi::load()));
  opened->choose();
  cl_int code = CL_SUCCESS;
  opened->context_ = opened->api_.clCreateContext(nullptr, 1, &opened->device_, nullptr, nullptr, &code);
  check(code, "clCreateContext");
  opened->queue_ =
      opened->api_.clCreateCommandQueue(opened->context_, opened->device_, CL_QUEUE_PROFILING_ENABLE, &code);
  check(code, "clCreateCommandQueue");
  opened->read_svm();
  return opened;
}

ClDevice::~ClDevice() {
  if (queue_ != nullptr) api_.clReleaseCommandQueue(queue_);
  if (context_ != nullptr) api_.clReleaseContext(context_);
}

void ClDevice::choose() {
  cl_uint count = 0;
  if (api_.clGetPlatformIDs(0, nullptr, &count) != CL_SUCCESS || count == 0) {
    throw std::runtime_error("the OpenCL library offers no platform");
  }
  std::vector<cl_platform_id> platforms(count);
  check(api_.clGetPlatformIDs(count, platforms.data(), nullptr), "clGetPlatformIDs");
  const char* wanted = std::getenv("SPLITFLEET_OPENCL_PLATFORM");
  std::string seen;
  for (const cl_bitfield type : {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ALL}) {
    for (cl_platform_id platform : platforms) {
      const std::string name =
          platform_text(platform, CL_PLATFORM_NAME) + " " + platform_text(platform, CL_PLATFORM_VERSION);
      if (seen.find(name) == std::string::npos) seen += (seen.empty() ? "" : "; ") + name;
      if (wanted != nullptr && name.find(wanted) == std::string::npos) continue;
      if (api_.clGetDeviceIDs(platform, type, 1, &device_, nullptr) == CL_SUCCESS && device_ != nullptr) {
        platform_ = platform;
        return;
      }
    }
  }
  throw std::runtime_error("no OpenCL platform has a usable device" +
                           (wanted != nullptr ? " and '" + std::string(wanted) + "' in its name" : "") +
                           " (platforms: " + seen + ")");
}

void ClDevice::read_svm() {
  const char* disabled = std::getenv("SPLITFLEET_DISABLE_SVM");
  if (disabled != nullptr && *disabled == '1') return;
  if (!api_.clSVMAlloc || !api_.clSVMFree || !api_.clSetKernelArgSVMPointer) return;
  const auto bits = device_value<cl_bitfield>(CL_DEVICE_SVM_CAPABILITIES);
  svm_.coarse = (bits & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER) != 0;
  svm_.fine_buffer = (bits & CL_DEVICE_SVM_FINE_GRAIN_BUFFER) != 0;
  svm_.fine_system = (bits & CL_DEVICE_SVM_FINE_GRAIN_SYSTEM) != 0;
  svm_.atomics = (bits & CL_DEVICE_SVM_ATOMICS) != 0;
}

Json ClDevice::describe() const {
  std::vector<std::size_t> item_sizes(device_value<cl_uint>(CL_DEVICE_MAX_WORK_ITEM_DIMENSIONS));
  check(api_.clGetDeviceInfo(device_, CL_DEVICE_MAX_WORK_ITEM_SIZES, item_sizes.size() * sizeof(std::size_t),
                             item_sizes.data(), nullptr),
        "clGetDeviceInfo");
  Json extensions = Json::array();
  std::istringstream names(device_text(CL_DEVICE_EXTENSIONS));
  for (std::string name; names >> name;) extensions.push_back(name);
  return {{"platform", platform_text(platform_, CL_PLATFORM_NAME)},
          {"platform_version", platform_version()},
          {"device", device_text(CL_DEVICE_NAME)},
          {"vendor", device_text(CL_DEVICE_VENDOR)},
          {"device_version", device_text(CL_DEVICE_VERSION)},
          {"driver_version", device_text(CL_DRIVER_VERSION)},
          {"c_version", device_text(CL_DEVICE_OPENCL_C_VERSION)},
          {"compute_units", device_value<cl_uint>(CL_DEVICE_MAX_COMPUTE_UNITS)},
          {"max_work_group_size", device_value<std::size_t>(CL_DEVICE_MAX_WORK_GROUP_SIZE)},
          {"max_work_item_sizes", item_sizes},
          {"preferred_vector_float", device_value<cl_uint>(CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT)},
          {"global_bytes", device_value<cl_ulong>(CL_DEVICE_GLOBAL_MEM_SIZE)},
          {"local_bytes", device_value<cl_ulong>(CL_DEVICE_LOCAL_MEM_SIZE)},
          {"constant_bytes", device_value<cl_ulong>(CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE)},
          {"max_alloc_bytes", device_value<cl_ulong>(CL_DEVICE_MAX_MEM_ALLOC_SIZE)},
          {"timer_resolution_ns", device_value<std::size_t>(CL_DEVICE_PROFILING_TIMER_RESOLUTION)},
          {"image2d_max",
           {device_value<std::size_t>(CL_DEVICE_IMAGE2D_MAX_WIDTH),
            device_value<std::size_t>(CL_DEVICE_IMAGE2D_MAX_HEIGHT)}},
          {"svm",
           {{"coarse", svm_.coarse},
            {"fine_buffer", svm_.fine_buffer},
            {"fine_system", svm_.fine_system},
            {"atomics", svm_.atomics}}},
          {"extensions", extensions}};
}

bool ClDevice::has_extension(const std::string& name) const {
  return (" " + device_text(CL_DEVICE_EXTENSIONS) + " ").find(" " + name + " ") != std::string::npos;
}

bool ClDevice::has_image(std::size_t width, std::size_t height) const {
  return device_value<cl_bool>(CL_DEVICE_IMAGE_SUPPORT) != 0 &&
         width <= device_value<std::size_t>(CL_DEVICE_IMAGE2D_MAX_WIDTH) &&
         height <= device_value<std::size_t>(CL_DEVICE_IMAGE2D_MAX_HEIGHT);
}

std::string ClDevice::platform_version() const {
  return platform_text(platform_, CL_PLATFORM_VERSION);
}

void ClDevice::check(cl_int code, const std::string& what) {
  if (code != CL_SUCCESS) throw JobError(status_of(code), what + ": " + code_text(code));
}

std::string ClDevice::platform_text(cl_platform_id platform, cl_uint name) const {
  return trimmed(read_text([&](std::size_t bytes, void* text, std::size_t* needed) {
    return api_.clGetPlatformInfo(platform, name, bytes, text, needed);
  }));
}

std::string ClDevice::device_text(cl_uint name) const {
  return trimmed(read_text([&](std::size_t bytes, void* text, std::size_t* needed) {
    return api_.clGetDeviceInfo(device_, name, bytes, text, needed);
  }));
}

// Zero where the device does not know the query (an OpenCL 1.2 driver asked about SVM).
template <typename T>
T ClDevice::device_value(cl_uint name) const {
  T value{};
  if (api_.clGetDeviceInfo(device_, name, sizeof(value), &value, nullptr) != CL_SUCCESS) return T{};
  return value;
}

}  // namespace splitfleet
