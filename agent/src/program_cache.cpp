#include "program_cache.hpp"

#include "clock.hpp"
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

ProgramCache::~ProgramCache() {
  for (const auto& entry : programs_) device_.api().clReleaseProgram(entry.second);
}

cl_program ProgramCache::get(const std::string& id, const ProgramSource& source) {
  const auto found = programs_.find(id);
  if (found != programs_.end()) return found->second;
  const std::int64_t start_ns = now_ns();
  cl_program program = build(source);
  built_ns_ += now_ns() - start_ns;
  programs_.emplace(id, program);
  return program;
}

cl_program ProgramCache::build(const ProgramSource& source) {
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

}  // namespace splitfleet
