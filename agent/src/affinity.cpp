#include "affinity.hpp"

#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr int kNotPinned = -1;

thread_local int pinned_core = kNotPinned;

cpu_set_t current_set() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
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

void pin_this_thread(int core) {
  if (pinned_core == core) return;
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  CPU_SET(core, &wanted);
  const bool was_set = sched_setaffinity(0, sizeof(wanted), &wanted) == 0;
  const std::string reason = was_set ? "the system overruled it" : std::strerror(errno);
  const cpu_set_t actual = current_set();
  if (!was_set || !CPU_EQUAL(&wanted, &actual)) {
    pinned_core = kNotPinned;
    throw JobError(Status::unsupported,
                   "a thread cannot be pinned to CPU " + std::to_string(core) + ": " + reason);
  }
  pinned_core = core;
}

void unpin_this_thread() {
  static const cpu_set_t at_start = current_set();
  if (pinned_core == kNotPinned) return;
  sched_setaffinity(0, sizeof(at_start), &at_start);
  pinned_core = kNotPinned;
}

}  // namespace splitfleet
