#include "cpu_list.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "system_files.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMostDigits = 4;

// The number in the name of a folder cpu0, cpu1, ...
std::optional<int> core_id(const std::string& name) {
  if (name.compare(0, 3, "cpu") != 0 || name.size() == 3 || name.size() > 3 + kMostDigits)
    return std::nullopt;
  if (!std::all_of(name.begin() + 3, name.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  return std::stoi(name.substr(3));
}

}  // namespace

std::vector<Core> list_cores() {
  const std::string folder = "/sys/devices/system/cpu";
  std::vector<Core> cores;
  for (const std::string& entry : entries(folder)) {
    const std::optional<int> id = core_id(entry);
    if (!id) continue;
    const std::optional<double> khz = first_number(folder + "/" + entry + "/cpufreq/cpuinfo_max_freq");
    cores.push_back({*id, khz ? std::optional<std::int64_t>(std::llround(*khz)) : std::nullopt});
  }
  std::sort(cores.begin(), cores.end(), [](const Core& a, const Core& b) { return a.id < b.id; });
  return cores;
}

std::vector<int> host_core() {
  const std::vector<Core> cores = list_cores();
  if (cores.empty()) return {};
  const auto is_slower = [](const Core& a, const Core& b) {
    return a.max_khz.value_or(0) < b.max_khz.value_or(0);
  };
  // From the back, so that the last of equals is found.
  return {std::max_element(cores.rbegin(), cores.rend(), is_slower)->id};
}

}  // namespace splitfleet
