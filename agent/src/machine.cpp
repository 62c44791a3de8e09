#include "machine.hpp"

#include <exception>

#include "status.hpp"

namespace splitfleet {

Machine::Machine(const StoreSettings& settings) : backends_(make_cpu_backends()) {
  try {
    device_ = ClDevice::open();
    programs_ = std::make_unique<ProgramCache>(*device_, settings);
  } catch (const std::exception& error) {
    opencl_error_ = one_line(error.what(), 2000);
  }
}

const ClDevice& Machine::require_device() const {
  if (!device_) throw JobError(Status::unsupported, opencl_error_);
  return *device_;
}

CpuBackend& Machine::backend(const std::string& name) const {
  std::string built;
  for (const std::unique_ptr<CpuBackend>& backend : backends_) {
    if (backend->name() == name) return *backend;
    built += (built.empty() ? "" : ", ") + backend->name();
  }
  throw JobError(Status::unsupported, "backend: this agent was built without " + name + "; it has " + built);
}

ThreadPool& Machine::threads(const std::vector<int>& cores) {
  std::unique_ptr<ThreadPool>& pool = pools_[cores];
  if (!pool) pool = std::make_unique<ThreadPool>(cores);
  return *pool;
}

}  // namespace splitfleet
