#include "telemetry.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "clock.hpp"
#include "cpu_list.hpp"
#include "result_file.hpp"
#include "system_files.hpp"

namespace splitfleet {
namespace {

constexpr double kLeastPlausible = -30.0;  // unused zones report absurd values
constexpr double kMostPlausible = 150.0;
constexpr const char* kZones = "/sys/class/thermal";
constexpr const char* kBattery = "/sys/class/power_supply/battery/";
constexpr const char* kStatusLabel = "Thermal Status: ";

struct Zone {
  std::string name;
  double celsius;
};

std::vector<Zone> read_zones() {
  std::vector<Zone> zones;
  for (const std::string& entry : entries(kZones)) {
    if (entry.compare(0, 12, "thermal_zone") != 0) continue;
    const std::string folder = std::string(kZones) + "/" + entry;
    const std::optional<double> millidegrees = first_number(folder + "/temp");
    if (!millidegrees) continue;
    const double celsius = *millidegrees / 1000.0;
    if (celsius > kLeastPlausible && celsius < kMostPlausible) {
      zones.push_back({first_line(folder + "/type").value_or(entry), celsius});
    }
  }
  return zones;
}

std::int64_t whole(double number) {
  return static_cast<std::int64_t>(std::llround(number));
}

Json cpu_clocks() {
  Json cpus = Json::array();
  for (const Core& core : list_cores()) {
    const auto khz =
        first_number("/sys/devices/system/cpu/cpu" + std::to_string(core.id) + "/cpufreq/scaling_cur_freq");
    if (khz) cpus.push_back({{"id", core.id}, {"khz", whole(*khz)}});
  }
  return cpus;
}

// Adreno's own file, else the devfreq device that is named after a GPU. Both are in Hz.
std::optional<double> gpu_hz() {
  if (const auto hz = first_number("/sys/class/kgsl/kgsl-3d0/gpuclk")) return hz;
  const std::string folder = "/sys/class/devfreq";
  for (const std::string& entry : entries(folder)) {
    for (const char* name : {"kgsl", "mali", "gpu", "pvr"}) {
      if (entry.find(name) == std::string::npos) continue;
      if (const auto hz = first_number(folder + "/" + entry + "/cur_freq")) return hz;
    }
  }
  return std::nullopt;
}

Json battery() {
  Json state = Json::object();
  if (const auto percent = first_number(kBattery + std::string("capacity")))
    state["percent"] = whole(*percent);
  if (const auto status = first_line(kBattery + std::string("status"))) state["status"] = *status;
  if (const auto tenths = first_number(kBattery + std::string("temp"))) state["celsius"] = *tenths / 10.0;
  return state;
}

// MemAvailable, what programs could get without swapping.
std::optional<std::int64_t> free_bytes() {
  std::ifstream file(system_path("/proc/meminfo"));
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string label;
    std::int64_t kib = 0;
    if (words >> label >> kib && label == "MemAvailable:") return kib * 1024;
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> hottest_celsius() {
  const std::vector<Zone> zones = read_zones();
  if (zones.empty()) return std::nullopt;
  const auto is_cooler = [](const Zone& a, const Zone& b) { return a.celsius < b.celsius; };
  return std::max_element(zones.begin(), zones.end(), is_cooler)->celsius;
}

std::optional<int> thermal_status() {
  for (const std::string& line : command_output("/system/bin/dumpsys", "thermalservice")) {
    const std::size_t label = line.find(kStatusLabel);
    if (label != std::string::npos) return std::atoi(line.c_str() + label + std::string(kStatusLabel).size());
  }
  return std::nullopt;
}

Json telemetry(const std::string& when) {
  Json line = {{"type", "telemetry"}, {"schema", kResultSchema}, {"when", when}, {"unix_us", unix_us()}};
  Json zones = Json::array();
  for (const Zone& zone : read_zones()) zones.push_back({{"name", zone.name}, {"celsius", zone.celsius}});
  if (!zones.empty()) line["zones"] = zones;
  if (const auto status = thermal_status()) line["thermal_status"] = *status;
  if (Json cpus = cpu_clocks(); !cpus.empty()) line["cpus"] = std::move(cpus);
  if (const auto hz = gpu_hz()) line["gpu_khz"] = whole(*hz / 1000.0);
  if (Json state = battery(); !state.empty()) line["battery"] = std::move(state);
  if (const auto load = first_number("/proc/loadavg")) line["load_1min"] = *load;
  if (const auto bytes = free_bytes()) line["free_bytes"] = *bytes;
  return line;
}

}  // namespace splitfleet
