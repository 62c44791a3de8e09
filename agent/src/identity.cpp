#include "identity.hpp"

namespace splitfleet {

const char* agent_version() {
  return SPLITFLEET_VERSION;
}

const char* build_id() {
  return SPLITFLEET_BUILD_ID;
}

}  // namespace splitfleet
