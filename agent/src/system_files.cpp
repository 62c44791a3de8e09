#include "system_files.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "clock.hpp"
#include "worker_process.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kCommandNs = 5'000'000'000;
constexpr std::size_t kMostLines = 1'000;

}  // namespace

std::string system_path(const std::string& path) {
  const char* root = std::getenv("SPLITFLEET_SYSROOT");
  return (root != nullptr ? root : "") + path;
}

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(system_path(path));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<double> first_number(const std::string& path) {
  std::ifstream file(system_path(path));
  double number = 0.0;
  return file >> number ? std::optional<double>(number) : std::nullopt;
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* listing = opendir(system_path(folder).c_str());
  if (listing == nullptr) return names;
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> command_output(const std::string& program, const std::string& argument) {
  std::vector<std::string> lines;
  const std::string path = system_path(program);
  if (access(path.c_str(), X_OK) != 0) return lines;
  WorkerProcess child([&](Channel& channel) {
    channel.become_output();
    execl(path.c_str(), path.c_str(), argument.c_str(), static_cast<char*>(nullptr));
  });
  const std::int64_t deadline_ns = now_ns() + kCommandNs;
  std::string line;
  while (lines.size() < kMostLines && child.channel().receive(line, deadline_ns) == Channel::Receipt::line) {
    lines.push_back(line);
  }
  child.end();
  return lines;
}

}  // namespace splitfleet
