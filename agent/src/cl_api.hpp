// The vendor's OpenCL library, opened at run time.
#pragma once

#include <string>

#include "cl_types.hpp"

namespace splitfleet {

using ContextCallback = void (*)(const char*, const void*, std::size_t, void*);
using ProgramCallback = void (*)(cl_program, void*);

// X(return type, name, parameters): functions that every OpenCL 1.2 library has.
#define SPLITFLEET_CL_REQUIRED(X)                                                                            \
  X(cl_int, clGetPlatformIDs, (cl_uint, cl_platform_id*, cl_uint*))                                          \
  X(cl_int, clGetPlatformInfo, (cl_platform_id, cl_uint, std::size_t, void*, std::size_t*))                  \
  X(cl_int, clGetDeviceIDs, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id*, cl_uint*))                 \
  X(cl_int, clGetDeviceInfo, (cl_device_id, cl_uint, std::size_t, void*, std::size_t*))                      \
  X(cl_context, clCreateContext,                                                                             \
    (const std::intptr_t*, cl_uint, const cl_device_id*, ContextCallback, void*, cl_int*))                   \
  X(cl_int, clReleaseContext, (cl_context))                                                                  \
  X(cl_command_queue, clCreateCommandQueue, (cl_context, cl_device_id, cl_bitfield, cl_int*))                \
  X(cl_int, clReleaseCommandQueue, (cl_command_queue))                                                       \
  X(cl_mem, clCreateBuffer, (cl_context, cl_bitfield, std::size_t, void*, cl_int*))                          \
  X(cl_mem, clCreateImage,                                                                                   \
    (cl_context, cl_bitfield, const cl_image_format*, const cl_image_desc*, void*, cl_int*))                 \
  X(cl_int, clEnqueueFillImage,                                                                              \
    (cl_command_queue, cl_mem, const void*, const std::size_t*, const std::size_t*, cl_uint,                 \
     const cl_event*, cl_event*))                                                                            \
  X(cl_int, clEnqueueReadBuffer,                                                                             \
    (cl_command_queue, cl_mem, cl_bool, std::size_t, std::size_t, void*, cl_uint, const cl_event*,           \
     cl_event*))                                                                                             \
  X(cl_int, clEnqueueWriteBuffer,                                                                            \
    (cl_command_queue, cl_mem, cl_bool, std::size_t, std::size_t, const void*, cl_uint, const cl_event*,     \
     cl_event*))                                                                                             \
  X(cl_int, clEnqueueCopyBuffer,                                                                             \
    (cl_command_queue, cl_mem, cl_mem, std::size_t, std::size_t, std::size_t, cl_uint, const cl_event*,      \
     cl_event*))                                                                                             \
  X(cl_int, clEnqueueFillBuffer,                                                                             \
    (cl_command_queue, cl_mem, const void*, std::size_t, std::size_t, std::size_t, cl_uint, const cl_event*, \
     cl_event*))                                                                                             \
  X(cl_int, clEnqueueReadImage,                                                                              \
    (cl_command_queue, cl_mem, cl_bool, const std::size_t*, const std::size_t*, std::size_t, std::size_t,    \
     void*, cl_uint, const cl_event*, cl_event*))                                                            \
  X(cl_int, clEnqueueWriteImage,                                                                             \
    (cl_command_queue, cl_mem, cl_bool, const std::size_t*, const std::size_t*, std::size_t, std::size_t,    \
     const void*, cl_uint, const cl_event*, cl_event*))                                                      \
  X(cl_int, clReleaseMemObject, (cl_mem))                                                                    \
  X(void*, clEnqueueMapBuffer,                                                                               \
    (cl_command_queue, cl_mem, cl_bool, cl_bitfield, std::size_t, std::size_t, cl_uint, const cl_event*,     \
     cl_event*, cl_int*))                                                                                    \
  X(cl_int, clEnqueueUnmapMemObject, (cl_command_queue, cl_mem, void*, cl_uint, const cl_event*, cl_event*)) \
  X(cl_program, clCreateProgramWithSource, (cl_context, cl_uint, const char**, const std::size_t*, cl_int*)) \
  X(cl_program, clCreateProgramWithBinary,                                                                   \
    (cl_context, cl_uint, const cl_device_id*, const std::size_t*, const unsigned char**, cl_int*, cl_int*)) \
  X(cl_int, clGetProgramInfo, (cl_program, cl_uint, std::size_t, void*, std::size_t*))                       \
  X(cl_int, clBuildProgram, (cl_program, cl_uint, const cl_device_id*, const char*, ProgramCallback, void*)) \
  X(cl_int, clGetProgramBuildInfo, (cl_program, cl_device_id, cl_uint, std::size_t, void*, std::size_t*))    \
  X(cl_int, clReleaseProgram, (cl_program))                                                                  \
  X(cl_kernel, clCreateKernel, (cl_program, const char*, cl_int*))                                           \
  X(cl_int, clReleaseKernel, (cl_kernel))                                                                    \
  X(cl_int, clSetKernelArg, (cl_kernel, cl_uint, std::size_t, const void*))                                  \
  X(cl_int, clEnqueueNDRangeKernel,                                                                          \
    (cl_command_queue, cl_kernel, cl_uint, const std::size_t*, const std::size_t*, const std::size_t*,       \
     cl_uint, const cl_event*, cl_event*))                                                                   \
  X(cl_int, clWaitForEvents, (cl_uint, const cl_event*))                                                     \
  X(cl_int, clGetEventInfo, (cl_event, cl_uint, std::size_t, void*, std::size_t*))                           \
  X(cl_int, clGetEventProfilingInfo, (cl_event, cl_uint, std::size_t, void*, std::size_t*))                  \
  X(cl_int, clReleaseEvent, (cl_event))                                                                      \
  X(cl_int, clFlush, (cl_command_queue))                                                                     \
  X(cl_int, clFinish, (cl_command_queue))

// Functions of OpenCL 2.0, and those that the agent can do without: null where the library does not have
// them.
#define SPLITFLEET_CL_OPTIONAL(X)                                        \
  X(void*, clSVMAlloc, (cl_context, cl_bitfield, std::size_t, cl_uint))  \
  X(void, clSVMFree, (cl_context, void*))                                \
  X(cl_int, clSetKernelArgSVMPointer, (cl_kernel, cl_uint, const void*)) \
  X(cl_event, clCreateUserEvent, (cl_context, cl_int*))                  \
  X(cl_int, clSetUserEventStatus, (cl_event, cl_int))                    \
  X(cl_int, clEnqueueBarrierWithWaitList, (cl_command_queue, cl_uint, const cl_event*, cl_event*))

struct ClApi {
#define SPLITFLEET_CL_MEMBER(type, name, parameters) type(*name) parameters = nullptr;
  SPLITFLEET_CL_REQUIRED(SPLITFLEET_CL_MEMBER)
  SPLITFLEET_CL_OPTIONAL(SPLITFLEET_CL_MEMBER)
#undef SPLITFLEET_CL_MEMBER

  // Opens SPLITFLEET_OPENCL alone when that is set, else the first usable of the names that phones and hosts
  // are known to use. Throws std::runtime_error that lists what was tried. The library stays open for the
  // life of the process.
  static ClApi load();
};

}  // namespace splitfleet
