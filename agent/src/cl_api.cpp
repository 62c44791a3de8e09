#include "cl_api.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace splitfleet {
namespace {

using PixelEnable = void (*)();
using PixelLoad = void* (*)(const char*);

std::vector<std::string> library_names() {
  const char* chosen = std::getenv("SPLITFLEET_OPENCL");
  if (chosen != nullptr && *chosen != '\0') return {chosen};
  return {"libOpenCL.so",
          "libOpenCL.so.1",
          "libOpenCL-pixel.so",
          "libOpenCL-car.so",
          "/vendor/lib64/libOpenCL.so",
          "/system/vendor/lib64/libOpenCL.so",
          "/system/lib64/libOpenCL.so",
          "/vendor/lib64/egl/libGLES_mali.so",
          "/system/vendor/lib64/egl/libGLES_mali.so",
          "/vendor/lib64/libPVROCL.so",
          "/system/vendor/lib64/libPVROCL.so"};
}

// dlsym gives a data pointer; copying its bytes is the conversion that POSIX promises to work.
template <typename Function>
Function as_function(void* symbol) {
  static_assert(sizeof(Function) == sizeof(symbol));
  Function function = nullptr;
  std::memcpy(&function, &symbol, sizeof(symbol));
  return function;
}

class Library {
 public:
  explicit Library(void* handle) : handle_(handle) {
    // Pixel phones hand the functions out through an entry point of their own, after being asked to enable
    // them.
    const auto enable = as_function<PixelEnable>(dlsym(handle, "enableOpenCL"));
    pixel_load_ = as_function<PixelLoad>(dlsym(handle, "loadOpenCLPointer"));
    if (enable != nullptr && pixel_load_ != nullptr) enable();
  }
  void* symbol(const char* name) const {
    return pixel_load_ != nullptr ? pixel_load_(name) : dlsym(handle_, name);
  }

 private:
  void* handle_;
  PixelLoad pixel_load_ = nullptr;
};

// Fills `api`; returns the name of the first required function that is missing, or null.
const char* bind(const Library& library, ClApi& api) {
  const char* missing = nullptr;
#define SPLITFLEET_CL_BIND(type, name, parameters) \
  api.name = as_function<decltype(api.name)>(library.symbol(#name));
#define SPLITFLEET_CL_DEMAND(type, name, parameters) \
  if (api.name == nullptr && missing == nullptr) missing = #name;
  SPLITFLEET_CL_REQUIRED(SPLITFLEET_CL_BIND)
  SPLITFLEET_CL_OPTIONAL(SPLITFLEET_CL_BIND)
  SPLITFLEET_CL_REQUIRED(SPLITFLEET_CL_DEMAND)
#undef SPLITFLEET_CL_BIND
#undef SPLITFLEET_CL_DEMAND
  return missing;
}

}  // namespace

ClApi ClApi::load() {
  std::string tried;
  for (const std::string& name : library_names()) {
    if (!tried.empty()) tried += "; ";
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* reason = dlerror();
      tried += reason != nullptr ? reason : name + ": cannot be opened";
      continue;
    }
    ClApi api;
    const char* missing = bind(Library(handle), api);
    if (missing == nullptr) return api;
    tried += name + ": has no " + missing;
    dlclose(handle);
  }
  throw std::runtime_error("no OpenCL library could be opened (tried: " + tried + ")");
}

}  // namespace splitfleet
