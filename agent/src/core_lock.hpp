// A fair lock between agents that share one machine's cores.
#pragma once

#include <string>

namespace splitfleet {

// With SPLITFLEET_CORE_LOCK naming a folder, only one agent among those that name it works at a time, in
// turns; without it nothing is locked.
class CoreLock {
 public:
  // Throws AgentError when the folder cannot be used.
  CoreLock();
  ~CoreLock();
  CoreLock(const CoreLock&) = delete;
  CoreLock& operator=(const CoreLock&) = delete;

  // In a forked child: leaves the lock to the parent.
  void close_files();

  // Holds the cores while it lives.
  class Hold {
   public:
    explicit Hold(const CoreLock& lock);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    const CoreLock& lock_;
  };

 private:
  int gate_ = -1;
  int core_ = -1;
};

}  // namespace splitfleet
