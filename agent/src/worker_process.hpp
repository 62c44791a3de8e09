// A child process that does what may hang or crash.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "channel.hpp"

namespace splitfleet {

class WorkerProcess {
 public:
  // Forks, so the caller must have no other thread. The child calls `serve` with its end of the channel and
  // ends when that returns or throws; it is ended by the kernel when this process dies. Throws AgentError
  // when the system has no process left.
  explicit WorkerProcess(const std::function<void(Channel&)>& serve);
  // Ends the child; does not wait for one that cannot be ended.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  Channel& channel() { return *channel_; }
  // Whether the child has ended by itself.
  bool has_ended();
  // Closes the channel and gives the child some seconds to end by itself, then end().
  bool close();
  // Kills the child and waits for its end. False when it is not gone after 10 s: a driver holds it in the
  // kernel.
  bool end();
  // How the child ended, such as "killed by SIGSEGV" or "with exit code 1"; after has_ended() or end().
  std::string last_words() const;

 private:
  bool has_ended_within(std::int64_t longest_ns);

  pid_t pid_ = -1;
  bool is_reaped_ = false;
  int wait_status_ = 0;
  std::unique_ptr<Channel> channel_;
};

}  // namespace splitfleet
