// The part of the OpenCL 1.2 and 2.0 interface that the agent uses, declared here because neither phones nor
// build machines carry OpenCL headers. Names and values are those of the Khronos specification.
#pragma once

#include <cstddef>
#include <cstdint>

namespace splitfleet {

using cl_int = std::int32_t;
using cl_uint = std::uint32_t;
using cl_ulong = std::uint64_t;
using cl_bool = cl_uint;
using cl_bitfield = cl_ulong;
using cl_platform_id = struct OpaquePlatform*;
using cl_device_id = struct OpaqueDevice*;
using cl_context = struct OpaqueContext*;
using cl_command_queue = struct OpaqueQueue*;
using cl_mem = struct OpaqueMemory*;
using cl_program = struct OpaqueProgram*;
using cl_kernel = struct OpaqueKernel*;
using cl_event = struct OpaqueEvent*;

constexpr cl_int CL_SUCCESS = 0;
constexpr cl_int CL_MEM_OBJECT_ALLOCATION_FAILURE = -4;
constexpr cl_int CL_OUT_OF_RESOURCES = -5;
constexpr cl_int CL_OUT_OF_HOST_MEMORY = -6;
constexpr cl_int CL_BUILD_PROGRAM_FAILURE = -11;
constexpr cl_int CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST = -14;
constexpr cl_int CL_INVALID_BUILD_OPTIONS = -43;
constexpr cl_int CL_INVALID_KERNEL_NAME = -46;
constexpr cl_int CL_INVALID_ARG_INDEX = -49;
constexpr cl_int CL_INVALID_ARG_VALUE = -50;
constexpr cl_int CL_INVALID_ARG_SIZE = -51;
constexpr cl_int CL_INVALID_KERNEL_ARGS = -52;
constexpr cl_int CL_INVALID_WORK_DIMENSION = -53;
constexpr cl_int CL_INVALID_WORK_GROUP_SIZE = -54;
constexpr cl_int CL_INVALID_WORK_ITEM_SIZE = -55;
constexpr cl_int CL_INVALID_BUFFER_SIZE = -61;

constexpr cl_int CL_IMAGE_FORMAT_NOT_SUPPORTED = -10;

constexpr cl_bool CL_TRUE = 1;

constexpr cl_uint CL_PLATFORM_VERSION = 0x0901;
constexpr cl_uint CL_PLATFORM_NAME = 0x0902;

constexpr cl_bitfield CL_DEVICE_TYPE_GPU = 1U << 2;
constexpr cl_bitfield CL_DEVICE_TYPE_ALL = 0xFFFFFFFFU;
constexpr cl_uint CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002;
constexpr cl_uint CL_DEVICE_MAX_WORK_ITEM_DIMENSIONS = 0x1003;
constexpr cl_uint CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004;
constexpr cl_uint CL_DEVICE_MAX_WORK_ITEM_SIZES = 0x1005;
constexpr cl_uint CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT = 0x100A;
constexpr cl_uint CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010;
constexpr cl_uint CL_DEVICE_IMAGE2D_MAX_WIDTH = 0x1011;
constexpr cl_uint CL_DEVICE_IMAGE2D_MAX_HEIGHT = 0x1012;
constexpr cl_uint CL_DEVICE_IMAGE_SUPPORT = 0x1016;
constexpr cl_uint CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F;
constexpr cl_uint CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE = 0x1020;
constexpr cl_uint CL_DEVICE_LOCAL_MEM_SIZE = 0x1023;
constexpr cl_uint CL_DEVICE_PROFILING_TIMER_RESOLUTION = 0x1025;
constexpr cl_uint CL_DEVICE_NAME = 0x102B;
constexpr cl_uint CL_DEVICE_VENDOR = 0x102C;
constexpr cl_uint CL_DRIVER_VERSION = 0x102D;
constexpr cl_uint CL_DEVICE_VERSION = 0x102F;
constexpr cl_uint CL_DEVICE_EXTENSIONS = 0x1030;
constexpr cl_uint CL_DEVICE_OPENCL_C_VERSION = 0x103D;
constexpr cl_uint CL_DEVICE_SVM_CAPABILITIES = 0x1053;

constexpr cl_bitfield CL_DEVICE_SVM_COARSE_GRAIN_BUFFER = 1U << 0;
constexpr cl_bitfield CL_DEVICE_SVM_FINE_GRAIN_BUFFER = 1U << 1;
constexpr cl_bitfield CL_DEVICE_SVM_FINE_GRAIN_SYSTEM = 1U << 2;
constexpr cl_bitfield CL_DEVICE_SVM_ATOMICS = 1U << 3;

constexpr cl_bitfield CL_QUEUE_PROFILING_ENABLE = 1U << 1;

constexpr cl_bitfield CL_MEM_READ_WRITE = 1U << 0;
constexpr cl_bitfield CL_MEM_ALLOC_HOST_PTR = 1U << 4;
constexpr cl_bitfield CL_MEM_SVM_FINE_GRAIN_BUFFER = 1U << 10;
constexpr cl_bitfield CL_MEM_SVM_ATOMICS = 1U << 11;

constexpr cl_bitfield CL_MAP_READ = 1U << 0;
constexpr cl_bitfield CL_MAP_WRITE = 1U << 1;

constexpr cl_uint CL_RGBA = 0x10B5;
constexpr cl_uint CL_HALF_FLOAT = 0x10DD;
constexpr cl_uint CL_FLOAT = 0x10DE;
constexpr cl_uint CL_MEM_OBJECT_IMAGE2D = 0x10F1;

struct cl_image_format {
  cl_uint image_channel_order;
  cl_uint image_channel_data_type;
};

struct cl_image_desc {
  cl_uint image_type;
  std::size_t image_width;
  std::size_t image_height;
  std::size_t image_depth;
  std::size_t image_array_size;
  std::size_t image_row_pitch;
  std::size_t image_slice_pitch;
  cl_uint num_mip_levels;
  cl_uint num_samples;
  cl_mem mem_object;
};

constexpr cl_uint CL_PROGRAM_BINARY_SIZES = 0x1165;
constexpr cl_uint CL_PROGRAM_BINARIES = 0x1166;
constexpr cl_uint CL_PROGRAM_BUILD_LOG = 0x1183;

constexpr cl_uint CL_EVENT_COMMAND_EXECUTION_STATUS = 0x11D3;
constexpr cl_int CL_COMPLETE = 0;
constexpr cl_int CL_RUNNING = 1;
constexpr cl_int CL_QUEUED = 3;

constexpr cl_uint CL_PROFILING_COMMAND_QUEUED = 0x1280;
constexpr cl_uint CL_PROFILING_COMMAND_SUBMIT = 0x1281;
constexpr cl_uint CL_PROFILING_COMMAND_START = 0x1282;
constexpr cl_uint CL_PROFILING_COMMAND_END = 0x1283;

}  // namespace splitfleet
