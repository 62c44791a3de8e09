// OpenCL programs, built once per process, or not at all where a binary of an earlier run is kept.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "cl_device.hpp"
#include "program_store.hpp"

namespace splitfleet {

struct ProgramSource {
  std::string source;
  std::string options;
};

// By id.
using Programs = std::unordered_map<std::string, ProgramSource>;

// Where binaries are kept, and the system's build: after an update of the system the driver may want other
// ones.
struct StoreSettings {
  std::string folder;  // empty: nowhere
  std::string os_build;
};

class ProgramCache {
 public:
  ProgramCache(const ClDevice& device, const StoreSettings& settings);
  ~ProgramCache();
  ProgramCache(const ProgramCache&) = delete;
  ProgramCache& operator=(const ProgramCache&) = delete;

  // The program `id`, made ready on its first use. Throws JobError(build_failed) with the first lines of the
  // build log.
  cl_program get(const std::string& id, const ProgramSource& source);
  // Time spent making programs ready since the process started.
  std::int64_t built_ns() const { return built_ns_; }
  // How many were compiled from their source.
  std::int64_t compiled() const { return compiled_; }

 private:
  std::string key_of(const std::string& id, const ProgramSource& source) const;
  cl_program make(const std::string& id, const ProgramSource& source);
  cl_program compile(const ProgramSource& source);
  cl_program from_binary(const std::string& binary, const std::string& options) const;
  std::string binary_of(cl_program program) const;

  const ClDevice& device_;
  std::string os_build_;
  ProgramStore store_;
  std::unordered_map<std::string, cl_program> programs_;
  std::int64_t built_ns_ = 0;
  std::int64_t compiled_ = 0;
};

}  // namespace splitfleet
