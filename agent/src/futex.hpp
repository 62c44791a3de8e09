// Waiting for a word in memory to change, by the kernel's futex: a parked thread costs nothing and wakes in
// microseconds. Called directly, since C++17 has no such wait.
#pragma once

#include <atomic>
#include <cstdint>

namespace splitfleet {

using FutexWord = std::atomic<std::uint32_t>;

// Parks the calling thread while `word` holds `seen`. May return early: look again.
void futex_wait(const FutexWord& word, std::uint32_t seen);

// Wakes all threads that are parked on `word`.
void futex_wake_all(const FutexWord& word);

}  // namespace splitfleet
