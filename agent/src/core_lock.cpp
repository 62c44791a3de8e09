#include "core_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr int kNoFile = -1;

int open_lock(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file == kNoFile) {
    throw AgentError(kExitUsage,
                     "SPLITFLEET_CORE_LOCK: " + path + " cannot be opened: " + std::strerror(errno));
  }
  return file;
}

void wait_for(int file, int operation) {
  while (flock(file, operation) != 0 && errno == EINTR) {
  }
}

}  // namespace

CoreLock::CoreLock() {
  const char* folder = std::getenv("SPLITFLEET_CORE_LOCK");
  if (folder == nullptr || *folder == '\0') return;
  mkdir(folder, 0777);  // usually there already; opening the locks tells whether it can be used
  gate_ = open_lock(std::string(folder) + "/gate");
  core_ = open_lock(std::string(folder) + "/core");
}

CoreLock::~CoreLock() {
  close_files();
}

void CoreLock::close_files() {
  for (int* file : {&gate_, &core_}) {
    if (*file != kNoFile) close(*file);
    *file = kNoFile;
  }
}

// Who waits for the cores holds the gate, so the agent that has just let go queues behind it: turns, no
// starvation.
CoreLock::Hold::Hold(const CoreLock& lock) : lock_(lock) {
  if (lock.core_ == kNoFile) return;
  wait_for(lock.gate_, LOCK_EX);
  wait_for(lock.core_, LOCK_EX);
  wait_for(lock.gate_, LOCK_UN);
}

CoreLock::Hold::~Hold() {
  if (lock_.core_ != kNoFile) wait_for(lock_.core_, LOCK_UN);
}

}  // namespace splitfleet
