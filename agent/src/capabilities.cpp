#include "capabilities.hpp"

#include <nlohmann/json.hpp>
#include <string>

#include "cpu_list.hpp"
#include "identity.hpp"
#include "memory.hpp"
#include "result_file.hpp"

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

Json cores() {
  Json list = Json::array();
  for (const Core& core : list_cores()) {
    list.push_back({{"id", core.id}, {"max_khz", core.max_khz ? Json(*core.max_khz) : Json()}});
  }
  return list;
}

Json backends(const Machine& machine) {
  Json versions = Json::object();
  for (const auto& backend : machine.backends()) versions[backend->name()] = backend->version();
  return versions;
}

}  // namespace

std::string capabilities_line(const Machine& machine) {
  const ClDevice* device = machine.device();
  const Json all = {{"schema", kResultSchema},
                    {"agent",
                     {{"version", agent_version()},
                      {"build", build_id()},
                      {"compiler", compiler_name()},
                      {"isa", instruction_set()},
                      {"architecture", architecture()},
                      {"backends", backends(machine)}}},
                    {"cpu", {{"cores", cores()}}},
                    {"memory_bytes", machine_memory_bytes()},
                    {"opencl", device != nullptr ? device->describe() : Json()},
                    {"opencl_error", device != nullptr ? Json() : Json(machine.opencl_error())}};
  return to_line(all);
}

Json agent_line(const Machine& machine) {
  const ClDevice* device = machine.device();
  return {{"type", "agent"},
          {"schema", kResultSchema},
          {"build", build_id()},
          {"isa", instruction_set()},
          {"compiler", compiler_name()},
          {"backends", backends(machine)},
          {"opencl", device != nullptr ? Json(device->platform_version()) : Json()}};
}

}  // namespace splitfleet
