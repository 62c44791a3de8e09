// splitfleet-agent: measures operators and their halves on this device.
#include <cstdio>
#include <exception>
#include <string>

#include "affinity.hpp"
#include "batch.hpp"
#include "capabilities.hpp"
#include "core_lock.hpp"
#include "status.hpp"

namespace {

constexpr const char* kUsage =
    "usage: splitfleet-agent info                            print this device's capabilities as JSON\n"
    "       splitfleet-agent run [--no-cache] JOBS RESULTS   execute the job file JOBS, append to RESULTS\n"
    "--no-cache: compile every program, though its binary is kept from an earlier run\n"
    "exit codes: 0 done, 1 a file cannot be read or written, 2 wrong use, 3 the device does not answer "
    "(restart it), 4 RESULTS is in use\n";

void print_info() {
  const splitfleet::CoreLock lock;
  const splitfleet::CoreLock::Hold hold(lock);
  std::printf("%s\n", splitfleet::capabilities_line(splitfleet::Machine()).c_str());
}

int run(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "info" && argc == 2) {
    print_info();
  } else if (verb == "run" && argc == 4) {
    splitfleet::run_batch(argv[2], argv[3], true);
  } else if (verb == "run" && argc == 5 && argv[2] == std::string("--no-cache")) {
    splitfleet::run_batch(argv[3], argv[4], false);
  } else {
    std::fputs(kUsage, stderr);
    return splitfleet::kExitUsage;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    splitfleet::available_cores();  // remembers where the process may run before anything is pinned
    return run(argc, argv);
  } catch (const splitfleet::AgentError& error) {
    std::fprintf(stderr, "splitfleet-agent: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "splitfleet-agent: %s\n", error.what());
    return splitfleet::kExitFailure;
  }
}
