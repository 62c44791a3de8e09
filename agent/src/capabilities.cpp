#include "capabilities.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "memory.hpp"

namespace splitfleet {
namespace {

std::string compiler_name() {
#if defined(__clang__)
  return std::string("clang ") + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#elif defined(__GNUC__)
  return std::string("gcc ") + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#else
  return "unknown";
#endif
}

std::string instruction_set() {
#if defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#elif defined(__SSE4_2__)
  return "sse4.2";
#elif defined(__SSE2__)
  return "sse2";
#elif defined(__ARM_NEON)
  return "neon";
#else
  return "generic";
#endif
}

const char* architecture() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "other";
#endif
}

std::string cpu_folder() {
  const char* root = std::getenv("SPLITFLEET_SYSROOT");
  return std::string(root != nullptr ? root : "") + "/sys/devices/system/cpu";
}

// Numbers of the folders cpu0, cpu1, ...
std::vector<int> core_ids() {
  std::vector<int> ids;
  DIR* folder = opendir(cpu_folder().c_str());
  if (folder == nullptr) return ids;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    const bool is_core =
        name.size() > 3 && name.size() < 8 && name.compare(0, 3, "cpu") == 0 &&
        std::all_of(name.begin() + 3, name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (is_core) ids.push_back(std::stoi(name.substr(3)));
  }
  closedir(folder);
  std::sort(ids.begin(), ids.end());
  return ids;
}

Json cores() {
  Json list = Json::array();
  for (const int id : core_ids()) {
    std::ifstream file(cpu_folder() + "/cpu" + std::to_string(id) + "/cpufreq/cpuinfo_max_freq");
    std::int64_t khz = 0;
    list.push_back({{"id", id}, {"max_khz", file >> khz ? Json(khz) : Json()}});
  }
  return list;
}

}  // namespace

Json capabilities(const Machine& machine) {
  const ClDevice* device = machine.device();
  return {{"schema", 1},
          {"agent",
           {{"version", SPLITFLEET_VERSION},
            {"build", SPLITFLEET_BUILD_ID},
            {"compiler", compiler_name()},
            {"isa", instruction_set()},
            {"architecture", architecture()},
            {"backend", machine.backend().name()}}},
          {"cpu", {{"cores", cores()}}},
          {"memory_bytes", machine_memory_bytes()},
          {"opencl", device != nullptr ? device->describe() : Json()},
          {"opencl_error", device != nullptr ? Json() : Json(machine.opencl_error())}};
}

Json agent_line(const Machine& machine) {
  const ClDevice* device = machine.device();
  return {{"type", "agent"},
          {"schema", 1},
          {"build", SPLITFLEET_BUILD_ID},
          {"isa", instruction_set()},
          {"compiler", compiler_name()},
          {"backend", machine.backend().name()},
          {"opencl", device != nullptr ? Json(device->platform_version()) : Json()},
          {"pid", getpid()}};
}

}  // namespace splitfleet
