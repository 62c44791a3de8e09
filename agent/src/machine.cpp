#include "machine.hpp"

#include <exception>

#include "status.hpp"

namespace splitfleet {

Machine::Machine() : backend_(make_eigen_backend()) {
  try {
    device_ = ClDevice::open();
    programs_ = std::make_unique<ProgramCache>(*device_);
  } catch (const std::exception& error) {
    opencl_error_ = one_line(error.what(), 2000);
  }
}

const ClDevice& Machine::require_device() const {
  if (!device_) throw JobError(Status::unsupported, opencl_error_);
  return *device_;
}

ThreadPool& Machine::threads(const std::vector<int>& cores) {
  std::unique_ptr<ThreadPool>& pool = pools_[cores];
  if (!pool) pool = std::make_unique<ThreadPool>(cores);
  return *pool;
}

}  // namespace splitfleet
