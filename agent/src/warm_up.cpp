#include "warm_up.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "clock.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kWindow = 5;
constexpr std::int64_t kMaxExecutions = 1'000;
// Below this share of the median times count as equal: a window can have no spread at all, and clocks have
// steps.
constexpr std::int64_t kEqualShare = 100;

std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Window {
  std::int64_t median_ns;
  std::int64_t spread_ns;  // median absolute deviation

  explicit Window(const std::int64_t* first) {
    std::vector<std::int64_t> values(first, first + kWindow);
    median_ns = median(values);
    for (std::int64_t& value : values) value = std::abs(value - median_ns);
    spread_ns = median(std::move(values));
  }
};

bool is_settled(const std::vector<std::int64_t>& walls_ns) {
  if (walls_ns.size() < 2 * kWindow) return false;
  const std::int64_t* end = walls_ns.data() + walls_ns.size();
  const Window before(end - 2 * kWindow);
  const Window last(end - kWindow);
  return std::abs(last.median_ns - before.median_ns) <=
         std::max({before.spread_ns, last.spread_ns, last.median_ns / kEqualShare});
}

}  // namespace

std::int64_t warm_up(Timed& timed, std::int64_t least, std::int64_t longest_us) {
  std::vector<std::int64_t> walls_ns;
  const std::int64_t start_ns = now_ns();
  std::int64_t count = 0;
  while (count < least ||
         (count < kMaxExecutions && now_ns() - start_ns < longest_us * 1000 && !is_settled(walls_ns))) {
    walls_ns.push_back(timed.execute().wall_ns);
    timed.settle();
    ++count;
  }
  return count;
}

}  // namespace splitfleet
