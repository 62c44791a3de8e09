#include "grace.hpp"

#include <algorithm>
#include <cstdlib>

namespace splitfleet {
namespace {

constexpr std::int64_t kDefaultS = 30;
constexpr std::int64_t kMostS = 3600;

}  // namespace

std::int64_t grace_us() {
  const char* chosen = std::getenv("SPLITFLEET_GRACE_S");
  const std::int64_t seconds = chosen != nullptr ? std::strtoll(chosen, nullptr, 10) : kDefaultS;
  return std::clamp(seconds, std::int64_t{1}, kMostS) * 1'000'000;
}

}  // namespace splitfleet
