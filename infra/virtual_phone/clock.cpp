// Preloaded into the programs of a virtual phone whose clock can be set: adds the phone's offset to the
// wall clock. The offset, nanoseconds as a 64-bit integer, lies in the file that SPLITFLEET_CLOCK names;
// the phone writes it while programs run. Only the wall clock jumps: the monotonic clock and the kernel's
// own times (of files) do not.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

const volatile std::int64_t* map_offset() {
  static const std::int64_t none = 0;
  const char* path = std::getenv("SPLITFLEET_CLOCK");
  const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return &none;
  void* mapped = mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  return mapped == MAP_FAILED ? &none : static_cast<const std::int64_t*>(mapped);
}

void move(timespec* time) {
  static const volatile std::int64_t* const offset = map_offset();
  const std::int64_t moved = time->tv_sec * kSecond + time->tv_nsec + *offset;
  time->tv_sec = moved / kSecond;
  time->tv_nsec = moved % kSecond;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) {
  using Function = int (*)(clockid_t, timespec*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(time);
  return result;
}

int gettimeofday(timeval* time, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* result) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (result) *result = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
