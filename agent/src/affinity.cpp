#include "affinity.hpp"

#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

cpu_set_t current_set() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

cpu_set_t only(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  return set;
}

const cpu_set_t& set_at_start() {
  static const cpu_set_t set = current_set();
  return set;
}

}  // namespace

std::vector<int> cores_of(std::uint64_t core_mask) {
  std::vector<int> cores;
  for (int core = 0; core < 64; ++core) {
    if ((core_mask >> core & 1U) != 0) cores.push_back(core);
  }
  return cores;
}

int available_cores() {
  return CPU_COUNT(&set_at_start());
}

void pin_this_thread(int core) {
  const cpu_set_t wanted = only(core);
  const bool was_set = sched_setaffinity(0, sizeof(wanted), &wanted) == 0;
  const std::string reason = was_set ? "the system overruled it" : std::strerror(errno);
  if (was_set && is_pinned_to(core)) return;
  throw JobError(Status::unsupported,
                 "a thread cannot be pinned to CPU " + std::to_string(core) + ": " + reason);
}

bool is_pinned_to(int core) {
  const cpu_set_t wanted = only(core);
  const cpu_set_t actual = current_set();
  return CPU_EQUAL(&wanted, &actual) != 0;
}

void unpin_this_thread() {
  sched_setaffinity(0, sizeof(set_at_start()), &set_at_start());
}

}  // namespace splitfleet
