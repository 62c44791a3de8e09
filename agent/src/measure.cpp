#include "measure.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "clock.hpp"
#include "disturbance.hpp"
#include "status.hpp"
#include "warm_up.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kNoisyTimeFactor = 3;
constexpr std::int64_t kNoisyRoundFactor = 20;
constexpr int kMostTries = 5;             // of one execution in its place in a round
constexpr std::int64_t kWarmupShare = 4;  // of the time that the repetitions may take
constexpr std::int64_t kVariantWarmup = 2;
constexpr std::int64_t kVariantWarmupUs = 100'000;

// One timed execution: kept in `samples`, or counted as rejected there.
bool sample_once(Timed& timed, Samples& samples, const Disturbance& disturbance) {
  const std::int64_t before = disturbance.reading();
  const HostTimes host = timed.execute();
  const bool was_switched_out = disturbance.spoils(before, host.wall_ns);
  const std::optional<EventTimes> events = timed.settle();
  if (was_switched_out) {
    ++samples.rejected_context_switch;
    return false;
  }
  if (events && !events->in_order()) {
    ++samples.rejected_event_order;
    return false;
  }
  samples.host.push_back(host);
  if (events) samples.events.push_back(*events);
  return true;
}

// One execution of a round, behind that of `previous`: kept in `samples` unless every try was disturbed.
bool sample_in_turn(Timed& timed, Timed& previous, Samples& samples, const Disturbance& disturbance) {
  for (int attempt = 0; attempt < kMostTries; ++attempt) {
    if (attempt > 0) {
      previous.pin_caller();
      previous.execute();
      previous.settle();
    }
    timed.pin_caller();
    if (sample_once(timed, samples, disturbance)) return true;
  }
  return false;
}

bool is_settled(const Samples& samples, double ci) {
  std::vector<std::int64_t> walls;
  for (const HostTimes& times : samples.host) walls.push_back(times.wall_ns);
  return median_uncertainty(std::move(walls)) <= ci;
}

template <typename Times>
Json column(const std::vector<Times>& rows, std::int64_t Times::* member) {
  Json values = Json::array();
  for (const Times& row : rows) values.push_back(row.*member);
  return values;
}

std::string rejected_text(const Samples& samples) {
  return std::to_string(samples.rejected_context_switch) + " context switches, " +
         std::to_string(samples.rejected_event_order) + " event orders";
}

}  // namespace

std::int64_t Samples::rejected() const {
  return rejected_context_switch + rejected_event_order;
}

Json Samples::rejected_json() const {
  return {{"context_switch", rejected_context_switch}, {"event_order", rejected_event_order}};
}

Json Samples::samples_json(JobKind kind) const {
  Json json = {{"wall_ns", column(host, &HostTimes::wall_ns)}};
  if (kind == JobKind::coexec) json["cpu_ns"] = column(host, &HostTimes::cpu_ns);
  if (!events.empty()) {
    json["queued_ns"] = column(events, &EventTimes::queued_ns);
    json["submit_ns"] = column(events, &EventTimes::submit_ns);
    json["start_ns"] = column(events, &EventTimes::start_ns);
    json["end_ns"] = column(events, &EventTimes::end_ns);
  }
  return json;
}

Samples measure(Timed& timed, const Repeat& repeat) {
  timed.pin_caller();
  Samples samples;
  samples.warmup = warm_up(timed, repeat.warmup, repeat.max_time_us / kWarmupShare);
  const Disturbance disturbance;
  std::int64_t kept_ns = 0;
  std::int64_t excused_ns = 0;  // of rejected repetitions: a single one can outlast a short job's whole time
  std::int64_t next_look = repeat.min_count;
  const std::int64_t start_ns = now_ns();
  std::int64_t end_ns = start_ns;
  for (;;) {
    const std::int64_t begin_ns = end_ns;
    const bool is_kept = sample_once(timed, samples, disturbance);
    end_ns = now_ns();
    if (is_kept) kept_ns += samples.host.back().wall_ns;
    if (!is_kept && samples.rejected() <= repeat.min_count) excused_ns += end_ns - begin_ns;
    const auto count = static_cast<std::int64_t>(samples.host.size());
    const std::int64_t elapsed_us = (end_ns - start_ns) / 1000;
    if (count >= repeat.max_count) return samples;
    if (count < repeat.min_count) {
      if (elapsed_us - excused_ns / 1000 < kNoisyTimeFactor * repeat.max_time_us) continue;
      throw JobError(Status::noisy, "only " + std::to_string(count) + " of " +
                                        std::to_string(repeat.min_count) + " repetitions survived (" +
                                        rejected_text(samples) + ")");
    }
    if (elapsed_us >= repeat.max_time_us) return samples;
    if (count >= next_look && kept_ns >= repeat.min_time_us * 1000) {
      if (is_settled(samples, repeat.ci)) return samples;
      next_look =
          count + count / 16 + 1;  // sorting after every repetition would disturb the next one's caches
    }
  }
}

std::vector<Samples> measure_interleaved(const std::vector<Timed*>& timed, std::int64_t rounds,
                                         std::int64_t longest_us) {
  const std::size_t count = timed.size();
  std::vector<Samples> samples(count);
  const std::int64_t start_ns = now_ns();
  for (std::size_t i = 0; i < count; ++i) {
    timed[i]->pin_caller();
    samples[i].warmup = warm_up(*timed[i], kVariantWarmup, kVariantWarmupUs);
  }
  const Disturbance disturbance;
  std::size_t kept = 0;
  Timed* previous = timed.back();
  for (std::int64_t round = 0; kept < static_cast<std::size_t>(rounds); ++round) {
    if (round == kNoisyRoundFactor * rounds || now_ns() - start_ns > longest_us * 1000) {
      throw JobError(Status::noisy, "only " + std::to_string(kept) + " of " + std::to_string(rounds) +
                                        " rounds survived " + std::to_string(round) + " attempts");
    }
    bool is_kept = true;
    for (std::size_t i = 0; i < count && is_kept; ++i) {
      const std::size_t which = (i + static_cast<std::size_t>(round)) % count;
      is_kept = sample_in_turn(*timed[which], *previous, samples[which], disturbance);
      previous = timed[which];
    }
    if (is_kept) ++kept;
    for (Samples& variant : samples) {
      variant.host.resize(kept);
      if (!variant.events.empty()) variant.events.resize(kept);
    }
  }
  return samples;
}

std::int64_t count_mismatches(Workload& workload, std::int64_t count) {
  workload.pin_caller();
  std::int64_t mismatches = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    workload.execute();
    if (workload.wrong_payload_words() > 0) ++mismatches;
    workload.settle_untimed();
  }
  return mismatches;
}

double median_uncertainty(std::vector<std::int64_t> values) {
  const auto n = static_cast<double>(values.size());
  const auto low = static_cast<std::int64_t>(std::floor((n + 1.0) / 2.0 - 0.98 * std::sqrt(n)));
  if (low < 1) return std::numeric_limits<double>::infinity();
  std::sort(values.begin(), values.end());
  const auto value = [&](std::int64_t rank) {
    return static_cast<double>(values[static_cast<std::size_t>(rank - 1)]);
  };
  const auto size = static_cast<std::int64_t>(values.size());
  const double median = (value((size + 1) / 2) + value(size / 2 + 1)) / 2.0;
  return std::max(value(size + 1 - low) - median, median - value(low)) / median;
}

}  // namespace splitfleet
