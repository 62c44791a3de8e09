// What jobs run on: the device, its programs, the CPU backends and the pinned threads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cl_device.hpp"
#include "cpu_backend.hpp"
#include "program_cache.hpp"
#include "thread_pool.hpp"

namespace splitfleet {

class Machine {
 public:
  // Without settings no program binaries are kept.
  explicit Machine(const StoreSettings& settings = {});

  // Null without OpenCL; opencl_error() then says what was tried.
  const ClDevice* device() const { return device_.get(); }
  const std::string& opencl_error() const { return opencl_error_; }
  // Throws JobError(unsupported) without OpenCL.
  const ClDevice& require_device() const;
  ProgramCache& programs() const { return *programs_; }
  std::int64_t compiled() const { return programs_ ? programs_->compiled() : 0; }
  std::int64_t built_ns() const { return programs_ ? programs_->built_ns() : 0; }
  const std::vector<std::unique_ptr<CpuBackend>>& backends() const { return backends_; }
  // Throws JobError(unsupported) when that backend is not built in.
  CpuBackend& backend(const std::string& name) const;
  // The threads for these cores, parked between uses; no cores: the caller alone.
  ThreadPool& threads(const std::vector<int>& cores);

 private:
  std::unique_ptr<ClDevice> device_;
  std::unique_ptr<ProgramCache> programs_;
  std::string opencl_error_;
  std::vector<std::unique_ptr<CpuBackend>> backends_;
  std::map<std::vector<int>, std::unique_ptr<ThreadPool>> pools_;
};

}  // namespace splitfleet
