#include "status.hpp"

namespace splitfleet {

const char* status_name(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::build_failed:
      return "build_failed";
    case Status::out_of_resources:
      return "out_of_resources";
    case Status::wrong_result:
      return "wrong_result";
    case Status::unsupported:
      return "unsupported";
    case Status::timeout:
      return "timeout";
    case Status::invalid_job:
      return "invalid_job";
    case Status::noisy:
      return "noisy";
    case Status::crashed:
      break;
  }
  return "crashed";
}

}  // namespace splitfleet
