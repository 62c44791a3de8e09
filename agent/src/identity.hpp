// Which agent this is.
#pragma once

namespace splitfleet {

const char* agent_version();
// Of sources, flags and compiler; "development" where nobody gave one.
const char* build_id();

}  // namespace splitfleet
