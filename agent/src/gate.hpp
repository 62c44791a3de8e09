// What holds the GPU's queue up until the CPU has done its part: work that is enqueued behind a closed gate
// is on the GPU already when the CPU gets there.
#pragma once

#include <memory>
#include <string>

#include "cl_device.hpp"
#include "memory.hpp"

namespace splitfleet {

class Gate {
 public:
  Gate() = default;
  virtual ~Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // What is enqueued from now on waits until open().
  virtual void close() = 0;
  virtual void open() = 0;
  // Throws JobError(timeout) when the queue went on without having been let.
  virtual void check() = 0;
};

// A user event that a barrier in the queue waits for. Throws JobError(unsupported) where the library has
// none.
std::unique_ptr<Gate> make_event_gate(const ClDevice& device);

// A kernel that polls a number in fine-grained SVM; it gives up after some seconds' looks, since a GPU that
// never ends takes the phone's screen with it. Throws JobError(unsupported) without atomics in fine-grained
// SVM.
std::unique_ptr<Gate> make_polling_gate(const ClDevice& device, cl_program program, const std::string& kernel,
                                        MemoryBudget& budget);

}  // namespace splitfleet
