// One transfer of bytes, made ready to be timed.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "job.hpp"
#include "machine.hpp"
#include "memory.hpp"
#include "timed.hpp"

namespace splitfleet {

// Device memory is an OpenCL buffer that the driver allocates where the host can map it
// (CL_MEM_ALLOC_HOST_PTR), or an image2d of RGBA floats; host memory is plain. Shared virtual memory needs no
// transfer and is not used.
class TransferWork : public Timed {
 public:
  // Throws JobError: unsupported without OpenCL or without such images, or what OpenCL refuses.
  TransferWork(Machine& machine, const Transfer& transfer, MemoryBudget& budget);
  ~TransferWork() override;
  TransferWork(const TransferWork&) = delete;
  TransferWork& operator=(const TransferWork&) = delete;

  // Executes once and looks at what arrived. Throws JobError(wrong_result).
  void check();

  void pin_caller() const override { pool_.pin_caller(); }
  HostTimes execute() override;
  std::optional<EventTimes> settle() override;

 private:
  void enqueue();
  void enqueue_map(cl_bitfield flags);
  void read_image(void* host, cl_event* event);
  void write_image(const void* host, cl_event* event);
  void fill_source();
  std::vector<std::uint32_t> arrived();
  void release_events();

  const Transfer& transfer_;
  const ClDevice& device_;
  const ClApi& api_;
  ThreadPool& pool_;
  ImageShape image_;
  std::unique_ptr<Buffer> memory_;  // the device's: where bytes arrive, or where they come from
  std::unique_ptr<Buffer> other_;   // the other end: the host's, or for `copy` the device's source
  cl_event first_ = nullptr;
  cl_event last_ = nullptr;
  bool has_times_ = true;
};

}  // namespace splitfleet
