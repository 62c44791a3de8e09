#include "transfer_work.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "clock.hpp"
#include "event_times.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

using Operation = Transfer::Operation;

constexpr std::uint32_t kFillWord = 0x3FC00000;
constexpr std::size_t kTexelBytes = 4 * sizeof(float);
constexpr std::size_t kWideRow = 1024;   // texels; as high an image as 64 MiB need fits every device then
constexpr std::size_t kNarrowRow = 256;  // for sizes that are no multiple of the wide row

bool is_image(Operation operation) {
  return operation == Operation::image_write || operation == Operation::image_read;
}

bool has_host_end(Operation operation) {
  return is_image(operation) || operation == Operation::read || operation == Operation::write;
}

// Words that differ from their neighbours and, read as floats, lie in [1, 2): an image may not keep other
// bits.
std::uint32_t pattern(std::size_t index) {
  return 0x3F800000U | (static_cast<std::uint32_t>(index) * 2654435761U >> 9);
}

ImageShape image_of(std::size_t bytes) {
  const std::size_t texels = bytes / kTexelBytes;
  const std::size_t width = texels % kWideRow == 0 ? kWideRow : kNarrowRow;
  return {width, texels / width};
}

}  // namespace

TransferWork::TransferWork(Machine& machine, const Transfer& transfer, MemoryBudget& budget)
    : transfer_(transfer),
      device_(machine.require_device()),
      api_(device_.api()),
      pool_(machine.threads(transfer.cores)),
      image_(image_of(transfer.bytes)) {
  pin_caller();
  const auto on_device = [&] {
    return std::make_unique<Buffer>(&device_, Buffer::Use::device, transfer.bytes, budget);
  };
  memory_ = is_image(transfer.operation) ? std::make_unique<Buffer>(device_, image_, ElementType::f32, budget)
                                         : on_device();
  if (transfer.operation == Operation::copy) other_ = on_device();
  if (has_host_end(transfer.operation)) {
    other_ = std::make_unique<Buffer>(nullptr, Buffer::Use::shared, transfer.bytes, budget);
  }
}

TransferWork::~TransferWork() {
  api_.clFinish(device_.queue());
  release_events();
}

HostTimes TransferWork::execute() {
  const std::int64_t start_ns = now_ns();
  enqueue();
  ClDevice::check(api_.clFlush(device_.queue()), "clFlush");
  ClDevice::check(api_.clWaitForEvents(1, &last_), "clWaitForEvents");
  return {now_ns() - start_ns, 0};
}

void TransferWork::enqueue() {
  cl_command_queue queue = device_.queue();
  cl_mem memory = memory_->memory();
  const std::size_t bytes = transfer_.bytes;
  cl_int code = CL_SUCCESS;
  switch (transfer_.operation) {
    case Operation::map_read:
      return enqueue_map(CL_MAP_READ);
    case Operation::map_write:
      return enqueue_map(CL_MAP_WRITE);
    case Operation::copy:
      code = api_.clEnqueueCopyBuffer(queue, other_->memory(), memory, 0, 0, bytes, 0, nullptr, &last_);
      break;
    case Operation::fill:
      code =
          api_.clEnqueueFillBuffer(queue, memory, &kFillWord, sizeof kFillWord, 0, bytes, 0, nullptr, &last_);
      break;
    case Operation::read:
      code = api_.clEnqueueReadBuffer(queue, memory, CL_TRUE, 0, bytes, other_->map(CL_MAP_WRITE), 0, nullptr,
                                      &last_);
      break;
    case Operation::write:
      code = api_.clEnqueueWriteBuffer(queue, memory, CL_TRUE, 0, bytes, other_->map(CL_MAP_READ), 0, nullptr,
                                       &last_);
      break;
    case Operation::image_write:
      return write_image(other_->map(CL_MAP_READ), &last_);
    case Operation::image_read:
      return read_image(other_->map(CL_MAP_WRITE), &last_);
  }
  ClDevice::check(code, operation_name(transfer_.operation));
}

// Maps and unmaps; nobody touches the bytes in between.
void TransferWork::enqueue_map(cl_bitfield flags) {
  cl_int code = CL_SUCCESS;
  void* mapped = api_.clEnqueueMapBuffer(device_.queue(), memory_->memory(), CL_TRUE, flags, 0,
                                         transfer_.bytes, 0, nullptr, &first_, &code);
  ClDevice::check(code, "clEnqueueMapBuffer");
  ClDevice::check(
      api_.clEnqueueUnmapMemObject(device_.queue(), memory_->memory(), mapped, 0, nullptr, &last_),
      "clEnqueueUnmapMemObject");
}

void TransferWork::read_image(void* host, cl_event* event) {
  const std::array<std::size_t, 3> origin{};
  const std::array<std::size_t, 3> region = {image_.width, image_.height, 1};
  ClDevice::check(api_.clEnqueueReadImage(device_.queue(), memory_->memory(), CL_TRUE, origin.data(),
                                          region.data(), 0, 0, host, 0, nullptr, event),
                  "clEnqueueReadImage");
}

void TransferWork::write_image(const void* host, cl_event* event) {
  const std::array<std::size_t, 3> origin{};
  const std::array<std::size_t, 3> region = {image_.width, image_.height, 1};
  ClDevice::check(api_.clEnqueueWriteImage(device_.queue(), memory_->memory(), CL_TRUE, origin.data(),
                                           region.data(), 0, 0, host, 0, nullptr, event),
                  "clEnqueueWriteImage");
}

std::optional<EventTimes> TransferWork::settle() {
  EventTimes times;
  // Some drivers time kernels only: then no repetition has device times.
  has_times_ =
      has_times_ && read_event_times(api_, first_ != nullptr ? first_ : last_, last_, times) == CL_SUCCESS;
  release_events();
  return has_times_ ? std::optional<EventTimes>(times) : std::nullopt;
}

void TransferWork::release_events() {
  for (cl_event* event : {&first_, &last_}) {
    if (*event != nullptr) api_.clReleaseEvent(*event);
    *event = nullptr;
  }
}

void TransferWork::check() {
  fill_source();
  execute();
  settle();
  const std::vector<std::uint32_t> words = arrived();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == (transfer_.operation == Operation::fill ? kFillWord : pattern(i))) continue;
    throw JobError(Status::wrong_result, "byte " + std::to_string(i * sizeof words[i]) + " did not arrive");
  }
}

// Puts the pattern where the bytes come from.
void TransferWork::fill_source() {
  std::vector<std::uint32_t> words(transfer_.bytes / sizeof(std::uint32_t));
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = pattern(i);
  if (transfer_.operation == Operation::image_read) return write_image(words.data(), nullptr);
  const bool comes_from_other = other_ && transfer_.operation != Operation::read;
  Buffer& source = comes_from_other ? *other_ : *memory_;
  std::memcpy(source.map(CL_MAP_WRITE), words.data(), transfer_.bytes);
  source.unmap();
}

// What lies where the bytes go to.
std::vector<std::uint32_t> TransferWork::arrived() {
  std::vector<std::uint32_t> words(transfer_.bytes / sizeof(std::uint32_t));
  if (transfer_.operation == Operation::image_write) {
    read_image(words.data(), nullptr);
    return words;
  }
  const bool goes_to_other =
      transfer_.operation == Operation::read || transfer_.operation == Operation::image_read;
  Buffer& target = goes_to_other ? *other_ : *memory_;
  std::memcpy(words.data(), target.map(CL_MAP_READ), transfer_.bytes);
  target.unmap();
  return words;
}

}  // namespace splitfleet
