#include "event_times.hpp"

namespace splitfleet {

cl_int read_event_times(const ClApi& api, cl_event first, cl_event last, EventTimes& times) {
  struct Query {
    cl_event event;
    cl_uint name;
    std::int64_t& value;
  };
  for (const Query& query : {Query{first, CL_PROFILING_COMMAND_QUEUED, times.queued_ns},
                             Query{first, CL_PROFILING_COMMAND_SUBMIT, times.submit_ns},
                             Query{first, CL_PROFILING_COMMAND_START, times.start_ns},
                             Query{last, CL_PROFILING_COMMAND_END, times.end_ns}}) {
    cl_ulong read_ns = 0;
    const cl_int code =
        api.clGetEventProfilingInfo(query.event, query.name, sizeof(read_ns), &read_ns, nullptr);
    if (code != CL_SUCCESS) return code;
    query.value = static_cast<std::int64_t>(read_ns);
  }
  return CL_SUCCESS;
}

}  // namespace splitfleet
