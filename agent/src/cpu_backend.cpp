#include "cpu_backend.hpp"

#include "eigen_backend.hpp"
#ifdef SPLITFLEET_XNNPACK_VERSION
#include "xnnpack_backend.hpp"
#endif

namespace splitfleet {

std::vector<std::unique_ptr<CpuBackend>> make_cpu_backends() {
  std::vector<std::unique_ptr<CpuBackend>> backends;
  backends.push_back(make_eigen_backend());
#ifdef SPLITFLEET_XNNPACK_VERSION
  backends.push_back(make_xnnpack_backend());
#endif
  return backends;
}

}  // namespace splitfleet
