# XNNPACK as CPU backend, with the operator interface of the years 2020 to 2022. Defines SPLITFLEET_XNNPACK_VERSION for the
# sources where it is usable; else stops when SPLITFLEET_XNNPACK is ON.

# What this host has is no use to another system.
set(places HINTS ${SPLITFLEET_XNNPACK_ROOT})
if(CMAKE_CROSSCOMPILING OR SPLITFLEET_XNNPACK_ROOT)
  set(places PATHS ${SPLITFLEET_XNNPACK_ROOT} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
endif()
find_path(XNNPACK_INCLUDE xnnpack.h PATH_SUFFIXES include ${places})
find_path(PTHREADPOOL_INCLUDE pthreadpool.h PATH_SUFFIXES include ${places})
set(xnnpack_libraries "")
# The last two are part of a static XNNPACK and hidden in a shared one.
foreach(name XNNPACK pthreadpool cpuinfo clog)
  find_library(${name}_LIBRARY NAMES ${name} lib${name}.so.0 PATH_SUFFIXES lib ${places})
  if(${name}_LIBRARY)
    list(APPEND xnnpack_libraries ${${name}_LIBRARY})
  endif()
endforeach()

set(is_usable FALSE)
if(XNNPACK_INCLUDE AND PTHREADPOOL_INCLUDE AND XNNPACK_LIBRARY AND pthreadpool_LIBRARY)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_INCLUDES ${XNNPACK_INCLUDE} ${PTHREADPOOL_INCLUDE})
  set(CMAKE_REQUIRED_LIBRARIES ${xnnpack_libraries} Threads::Threads)
  check_cxx_source_compiles("
    #include <xnnpack.h>
    int main() {
      xnn_operator_t op = nullptr;
      xnn_create_fully_connected_nc_f32(1, 1, 1, 1, nullptr, nullptr, 0.0f, 1.0f, 0, &op);
      return xnn_setup_fully_connected_nc_f32(op, 1, nullptr, nullptr, nullptr);
    }" SPLITFLEET_XNNPACK_FITS)
  set(is_usable ${SPLITFLEET_XNNPACK_FITS})
endif()
if(NOT is_usable)
  if(NOT SPLITFLEET_XNNPACK STREQUAL "AUTO")
    message(FATAL_ERROR "XNNPACK is not usable: xnnpack.h, pthreadpool.h and both libraries, with the interface of 2022, are "
      "expected (Debian: libxnnpack-dev libpthreadpool-dev); set SPLITFLEET_XNNPACK_ROOT, or SPLITFLEET_XNNPACK=OFF")
  endif()
  return()
endif()

if(NOT SPLITFLEET_XNNPACK_VERSION AND NOT SPLITFLEET_XNNPACK_ROOT)
  execute_process(COMMAND dpkg-query -W -f "\${Version}" libxnnpack-dev OUTPUT_VARIABLE package ERROR_QUIET)
  if(package MATCHES "git([0-9][0-9][0-9][0-9])([0-9][0-9])([0-9][0-9])")
    set(SPLITFLEET_XNNPACK_VERSION "${CMAKE_MATCH_1}-${CMAKE_MATCH_2}-${CMAKE_MATCH_3}")
  endif()
endif()
if(NOT SPLITFLEET_XNNPACK_VERSION)
  # The library does not know its own version.
  file(SHA256 ${XNNPACK_LIBRARY} digest)
  string(SUBSTRING ${digest} 0 12 SPLITFLEET_XNNPACK_VERSION)
endif()
message(STATUS "CPU backend XNNPACK ${SPLITFLEET_XNNPACK_VERSION}: ${XNNPACK_LIBRARY}")
target_compile_definitions(splitfleet-agent-parts PRIVATE SPLITFLEET_XNNPACK_VERSION="${SPLITFLEET_XNNPACK_VERSION}")
target_include_directories(splitfleet-agent-parts SYSTEM PRIVATE ${XNNPACK_INCLUDE} ${PTHREADPOOL_INCLUDE})
target_link_libraries(splitfleet-agent-parts PUBLIC ${xnnpack_libraries})
