#include "disturbance.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace splitfleet {
namespace {

constexpr std::int64_t kHarmlessNs = 20'000;
constexpr std::int64_t kHarmlessShare = 50;  // a fiftieth of the execution
// A system has something to do every few milliseconds: hardly a whole network would ever be left alone. Its
// variants take turns, and their median counts.
constexpr std::int64_t kLongNs = 50'000'000;
constexpr std::int64_t kHarmlessShareOfLong = 10;

struct Account {
  std::int64_t ran_ns = 0;
  std::int64_t waited_ns = 0;
};

// Zeros for a thread that has ended, and where the kernel keeps no account.
Account read_account(int file) {
  char line[96];
  const ssize_t size = pread(file, line, sizeof line - 1, 0);
  if (size <= 0) return {};
  line[size] = '\0';
  char* rest = nullptr;
  const std::int64_t ran_ns = std::strtoll(line, &rest, 10);
  return {ran_ns, std::strtoll(rest, nullptr, 10)};
}

}  // namespace

Disturbance::Disturbance() {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return;
  while (const dirent* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.') continue;
    const std::string path = std::string("/proc/self/task/") + entry->d_name + "/schedstat";
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file >= 0) files_.push_back(file);
  }
  closedir(tasks);
  const auto has_run = [](int file) { return read_account(file).ran_ns > 0; };
  if (std::any_of(files_.begin(), files_.end(), has_run)) return;
  for (const int file : files_) close(file);
  files_.clear();
}

Disturbance::~Disturbance() {
  for (const int file : files_) close(file);
}

std::int64_t Disturbance::reading() const {
  if (files_.empty()) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
  }
  std::int64_t total = 0;
  for (const int file : files_) total += read_account(file).waited_ns;
  return total;
}

bool Disturbance::spoils(std::int64_t before, std::int64_t wall_ns) const {
  const std::int64_t lost = reading() - before;
  const std::int64_t share = wall_ns < kLongNs ? kHarmlessShare : kHarmlessShareOfLong;
  return files_.empty() ? lost != 0 : lost > std::max(kHarmlessNs, wall_ns / share);
}

}  // namespace splitfleet
