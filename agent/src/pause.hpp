// What a polling loop does between two looks.
#pragma once

#if !defined(__x86_64__) && !defined(__i386__) && !defined(__aarch64__) && !defined(__arm__)
#include <thread>
#endif

namespace splitfleet {

// Tells the core that this is a spin loop, which frees its shared resources.
inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  asm volatile("pause");
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#else
  std::this_thread::yield();
#endif
}

}  // namespace splitfleet
