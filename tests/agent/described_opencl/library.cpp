// An OpenCL library as a described phone would have it. It executes nothing itself: it hands out the functions of a
// real library through the entry point that Pixel phones use, and changes what a description file says.
//
//   DESCRIBED_OPENCL_REAL  the real library
//   DESCRIBED_OPENCL       the description, one statement a line:
//     hide NAME                     the library lacks this function
//     device NUMBER KIND VALUES     what clGetDeviceInfo answers; NUMBER is the parameter's, as 0x102B; KIND is text,
//                                   uint (32 bits), ulong or size (64 bits), with one value or more
//     broken_events N               every N-th event says that it started before it was submitted
//     broken_event_ms N             asking such an event for its times takes so long

#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::uint32_t kProfilingQueued = 0x1280;
constexpr std::uint32_t kProfilingStart = 0x1282;
constexpr std::int32_t kInvalidValue = -30;

using DeviceInfo = std::int32_t (*)(void*, std::uint32_t, std::size_t, void*, std::size_t*);
using EventInfo = std::int32_t (*)(void*, std::uint32_t, std::size_t, void*, std::size_t*);

struct Description {
  std::set<std::string> hidden;
  std::map<std::uint32_t, std::string> device;  // answers as bytes
  long broken_every = 0;
  long broken_ms = 0;
};

void* real = nullptr;
Description description;
DeviceInfo real_device_info = nullptr;
EventInfo real_event_info = nullptr;
long events = 0;

template <typename Number>
std::string bytes_of(std::istream& values) {
  std::string bytes;
  for (std::string word; values >> word;) {
    const Number number = static_cast<Number>(std::strtoull(word.c_str(), nullptr, 0));
    bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  return bytes;
}

void read_description(const char* path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string statement, first, kind;
    words >> statement >> first;
    if (statement == "hide") description.hidden.insert(first);
    if (statement == "broken_events") description.broken_every = std::atol(first.c_str());
    if (statement == "broken_event_ms") description.broken_ms = std::atol(first.c_str());
    if (statement != "device") continue;
    std::string& answer = description.device[std::strtoul(first.c_str(), nullptr, 0)];
    words >> kind >> std::ws;
    if (kind == "text") {
      std::getline(words, answer);
      answer.push_back('\0');
    } else {
      answer = kind == "uint" ? bytes_of<std::uint32_t>(words) : bytes_of<std::uint64_t>(words);
    }
  }
}

std::int32_t device_info(void* device, std::uint32_t name, std::size_t room, void* value, std::size_t* size) {
  const auto found = description.device.find(name);
  if (found == description.device.end()) return real_device_info(device, name, room, value, size);
  if (value != nullptr && room < found->second.size()) return kInvalidValue;
  if (value != nullptr) std::memcpy(value, found->second.data(), found->second.size());
  if (size != nullptr) *size = found->second.size();
  return 0;
}

std::int32_t event_info(void* event, std::uint32_t name, std::size_t room, void* value, std::size_t* size) {
  const std::int32_t code = real_event_info(event, name, room, value, size);
  if (name == kProfilingQueued) ++events;
  if (name == kProfilingStart && value != nullptr && description.broken_every > 0 &&
      events % description.broken_every == 0) {
    std::memset(value, 0, room);
    std::this_thread::sleep_for(std::chrono::milliseconds(description.broken_ms));
  }
  return code;
}

template <typename Function>
void* pointer_to(Function function) {
  void* pointer = nullptr;
  std::memcpy(&pointer, &function, sizeof(pointer));
  return pointer;
}

template <typename Function>
void find(const char* name, Function& function) {
  void* symbol = dlsym(real, name);
  std::memcpy(&function, &symbol, sizeof(symbol));
}

}  // namespace

extern "C" void enableOpenCL() {
  real = dlopen(std::getenv("DESCRIBED_OPENCL_REAL"), RTLD_NOW | RTLD_LOCAL);
  if (real == nullptr) return;
  read_description(std::getenv("DESCRIBED_OPENCL"));
  find("clGetDeviceInfo", real_device_info);
  find("clGetEventProfilingInfo", real_event_info);
}

extern "C" void* loadOpenCLPointer(const char* name) {
  if (real == nullptr || description.hidden.count(name) != 0) return nullptr;
  if (std::strcmp(name, "clGetDeviceInfo") == 0) return pointer_to(device_info);
  if (std::strcmp(name, "clGetEventProfilingInfo") == 0) return pointer_to(event_info);
  return dlsym(real, name);
}
