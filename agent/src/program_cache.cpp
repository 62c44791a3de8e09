#include "program_cache.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "clock.hpp"
#include "identity.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kLogBytes = 600;

std::string build_log(const ClDevice& device, cl_program program) {
  std::size_t bytes = 0;
  const ClApi& api = device.api();
  api.clGetProgramBuildInfo(program, device.id(), CL_PROGRAM_BUILD_LOG, 0, nullptr, &bytes);
  std::string log(bytes, '\0');
  if (bytes > 0) {
    api.clGetProgramBuildInfo(program, device.id(), CL_PROGRAM_BUILD_LOG, bytes, &log[0], nullptr);
  }
  return one_line(log, kLogBytes);
}

}  // namespace

ProgramCache::ProgramCache(const ClDevice& device, const StoreSettings& settings)
    : device_(device), os_build_(settings.os_build), store_(settings.folder) {}

ProgramCache::~ProgramCache() {
  for (const auto& entry : programs_) device_.api().clReleaseProgram(entry.second);
}

cl_program ProgramCache::get(const std::string& id, const ProgramSource& source) {
  const auto found = programs_.find(id);
  if (found != programs_.end()) return found->second;
  const std::int64_t start_ns = now_ns();
  cl_program program = make(id, source);
  built_ns_ += now_ns() - start_ns;
  programs_.emplace(id, program);
  return program;
}

// The source itself is part of the key, so no two programs can ever be taken for each other.
std::string ProgramCache::key_of(const std::string& id, const ProgramSource& source) const {
  const Json device = device_.describe();
  return to_line({{"device", device["device"]},
                  {"driver", device["driver_version"]},
                  {"platform", device["platform_version"]},
                  {"os_build", os_build_},
                  {"agent_build", build_id()},
                  {"program", id},
                  {"options", source.options},
                  {"source", source.source}});
}

cl_program ProgramCache::make(const std::string& id, const ProgramSource& source) {
  const std::string key = key_of(id, source);
  if (const std::optional<std::string> binary = store_.load(key)) {
    cl_program program = from_binary(*binary, source.options);
    if (program != nullptr) return program;
  }
  cl_program program = compile(source);
  ++compiled_;
  // Asking for the binary costs some drivers a compilation.
  if (store_.is_open()) store_.save(key, binary_of(program));
  return program;
}

cl_program ProgramCache::compile(const ProgramSource& source) {
  const ClApi& api = device_.api();
  const char* text = source.source.c_str();
  const std::size_t bytes = source.source.size();
  cl_int code = CL_SUCCESS;
  cl_program program = api.clCreateProgramWithSource(device_.context(), 1, &text, &bytes, &code);
  ClDevice::check(code, "clCreateProgramWithSource");
  cl_device_id device = device_.id();
  code = api.clBuildProgram(program, 1, &device, source.options.c_str(), nullptr, nullptr);
  if (code != CL_SUCCESS) {
    const std::string log = build_log(device_, program);
    api.clReleaseProgram(program);
    throw JobError(Status::build_failed, log.empty() ? "clBuildProgram: error " + std::to_string(code) : log);
  }
  return program;
}

// Null when the driver refuses the binary.
cl_program ProgramCache::from_binary(const std::string& binary, const std::string& options) const {
  const ClApi& api = device_.api();
  cl_device_id device = device_.id();
  const std::size_t bytes = binary.size();
  const auto* content = reinterpret_cast<const unsigned char*>(binary.data());
  cl_int device_code = CL_SUCCESS;
  cl_int code = CL_SUCCESS;
  cl_program program =
      api.clCreateProgramWithBinary(device_.context(), 1, &device, &bytes, &content, &device_code, &code);
  if (code != CL_SUCCESS || program == nullptr) return nullptr;
  if (device_code == CL_SUCCESS &&
      api.clBuildProgram(program, 1, &device, options.c_str(), nullptr, nullptr) == CL_SUCCESS) {
    return program;
  }
  api.clReleaseProgram(program);
  return nullptr;
}

// Empty when the driver has none.
std::string ProgramCache::binary_of(cl_program program) const {
  const ClApi& api = device_.api();
  std::size_t bytes = 0;
  if (api.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, nullptr) != CL_SUCCESS)
    return "";
  std::string binary(bytes, '\0');
  char* content = &binary[0];
  if (bytes == 0 ||
      api.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof content, &content, nullptr) != CL_SUCCESS)
    return "";
  return binary;
}

}  // namespace splitfleet
