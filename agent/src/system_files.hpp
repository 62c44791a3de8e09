// Small files and commands of the system.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace splitfleet {

// Where a path of the system lies: below SPLITFLEET_SYSROOT, when that is set.
std::string system_path(const std::string& path);

// The first line of a file of the system; nothing when it cannot be read.
std::optional<std::string> first_line(const std::string& path);
// The number that a file of the system begins with.
std::optional<double> first_number(const std::string& path);
// The entries of a folder of the system, sorted; none when it cannot be read.
std::vector<std::string> entries(const std::string& folder);

// The lines that a program of the system prints within 5 s; none where there is no such program. Forks: the
// caller must have no other thread.
std::vector<std::string> command_output(const std::string& program, const std::string& argument);

}  // namespace splitfleet
