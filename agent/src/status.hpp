// The outcomes of a job and the exception that carries one.
#pragma once

#include <stdexcept>
#include <string>

namespace splitfleet {

enum class Status {
  ok,
  build_failed,
  out_of_resources,
  wrong_result,
  unsupported,
  timeout,
  invalid_job,
  noisy,
  crashed
};

const char* status_name(Status status);

// A job ended with something other than `ok`. This is a result to report, not a fault of the agent.
class JobError : public std::runtime_error {
 public:
  JobError(Status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

// The batch cannot go on: the message says what happened, the code is the exit code of the process.
class AgentError : public std::runtime_error {
 public:
  AgentError(int exit_code, const std::string& text) : std::runtime_error(text), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

constexpr int kExitFailure = 1;  // a file cannot be read or written
constexpr int kExitUsage = 2;    // wrong arguments, or a result file of another batch
constexpr int kExitDevice = 3;  // the device does not answer any more: restart it, then start the agent again
constexpr int kExitLocked = 4;  // another agent works on this result file

}  // namespace splitfleet
