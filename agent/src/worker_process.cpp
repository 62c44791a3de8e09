#include "worker_process.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "clock.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kCloseNs = 5'000'000'000;
constexpr std::int64_t kReapNs = 10'000'000'000;
constexpr std::chrono::milliseconds kReapPause{2};

// strsignal() gives sentences, and differs between C libraries.
constexpr std::pair<int, const char*> kSignalNames[] = {
    {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"},   {SIGHUP, "SIGHUP"},
    {SIGILL, "SIGILL"},   {SIGINT, "SIGINT"}, {SIGKILL, "SIGKILL"}, {SIGPIPE, "SIGPIPE"},
    {SIGSEGV, "SIGSEGV"}, {SIGSYS, "SIGSYS"}, {SIGTERM, "SIGTERM"}, {SIGTRAP, "SIGTRAP"}};

std::string signal_name(int number) {
  for (const auto& [known, name] : kSignalNames) {
    if (known == number) return name;
  }
  return "signal " + std::to_string(number);
}

[[noreturn]] void fail(const char* what) {
  throw AgentError(kExitFailure, std::string(what) + " failed: " + std::strerror(errno));
}

// _exit: the destructors and exit handlers of a driver may hang or crash, and the kernel frees everything.
[[noreturn]] void be_the_child(pid_t parent, int socket, const std::function<void(Channel&)>& serve) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above.
  if (getppid() != parent) _exit(kExitFailure);
  try {
    Channel channel(socket);
    serve(channel);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "splitfleet-agent: worker: %s\n", error.what());
    _exit(kExitFailure);
  }
  _exit(0);
}

}  // namespace

WorkerProcess::WorkerProcess(const std::function<void(Channel&)>& serve) {
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) fail("socketpair");
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    ::close(sockets[0]);
    be_the_child(parent, sockets[1], serve);
  }
  ::close(sockets[1]);
  channel_ = std::make_unique<Channel>(sockets[0]);
  if (pid_ < 0) fail("fork");
}

WorkerProcess::~WorkerProcess() {
  if (!has_ended()) kill(pid_, SIGKILL);
  has_ended();
}

bool WorkerProcess::has_ended() {
  if (!is_reaped_) is_reaped_ = waitpid(pid_, &wait_status_, WNOHANG) == pid_;
  return is_reaped_;
}

bool WorkerProcess::close() {
  channel_.reset();
  return has_ended_within(kCloseNs) || end();
}

bool WorkerProcess::end() {
  if (!has_ended()) kill(pid_, SIGKILL);
  return has_ended_within(kReapNs);
}

bool WorkerProcess::has_ended_within(std::int64_t longest_ns) {
  const std::int64_t deadline_ns = now_ns() + longest_ns;
  while (!has_ended() && now_ns() < deadline_ns) std::this_thread::sleep_for(kReapPause);
  return is_reaped_;
}

std::string WorkerProcess::last_words() const {
  if (WIFSIGNALED(wait_status_)) return "killed by " + signal_name(WTERMSIG(wait_status_));
  return "with exit code " + std::to_string(WEXITSTATUS(wait_status_));
}

}  // namespace splitfleet
