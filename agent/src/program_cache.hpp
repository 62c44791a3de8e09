// OpenCL programs, built once per process.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "cl_device.hpp"

namespace splitfleet {

struct ProgramSource {
  std::string source;
  std::string options;
};

class ProgramCache {
 public:
  explicit ProgramCache(const ClDevice& device) : device_(device) {}
  ~ProgramCache();
  ProgramCache(const ProgramCache&) = delete;
  ProgramCache& operator=(const ProgramCache&) = delete;

  // The program `id`, built on its first use. Throws JobError(build_failed) with the first lines of the build
  // log.
  cl_program get(const std::string& id, const ProgramSource& source);
  // Time spent in builds since the process started.
  std::int64_t built_ns() const { return built_ns_; }

 private:
  cl_program build(const ProgramSource& source);

  const ClDevice& device_;
  std::unordered_map<std::string, cl_program> programs_;
  std::int64_t built_ns_ = 0;
};

}  // namespace splitfleet
