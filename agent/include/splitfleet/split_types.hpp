// What a split table speaks of: operators, and how to run them.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

namespace splitfleet::runtime {

enum class OperatorType : std::uint8_t { linear, conv2d, depthwise_conv2d, pool2d };
enum class PoolMode : std::uint8_t { max, avg };
enum class Epilogue : std::uint8_t { none, relu, relu6, add, add_relu };
enum class Processor : std::uint8_t { cpu, gpu, split };
enum class Join : std::uint8_t { none, svm_poll, event_wait, finish };

// How a decision may be found; each policy includes those before it.
enum class Policy : std::uint8_t { exact, range, nearest, table_default };

enum class TableError : std::uint8_t { none, cannot_read, no_table, other_version, damaged };

inline const char* error_text(TableError error) noexcept {
  switch (error) {
    case TableError::none:
      return "no error";
    case TableError::cannot_read:
      return "the file cannot be read";
    case TableError::no_table:
      return "not a binary split table";
    case TableError::other_version:
      return "a split table of another version; this reads version 5";
    case TableError::damaged:
      return "the split table is damaged or cut short; get the package again";
  }
  return "unknown error";
}

// Of a convolution or pool.
struct Window {
  std::uint32_t kernel_h = 1;
  std::uint32_t kernel_w = 1;
  std::uint32_t stride = 1;
  std::uint32_t pad_h = 0;
  std::uint32_t pad_w = 0;
};

// An operator, batch 1, channels last.
struct Shape {
  OperatorType type = OperatorType::linear;
  Epilogue epilogue = Epilogue::none;
  // Pool mode, window, then input channels, output channels, height, width; of a linear layer the last is its
  // rows.
  std::array<std::uint32_t, 10> words{};

  std::uint32_t channels() const noexcept { return words[7]; }
  std::uint32_t rows() const noexcept { return words[9]; }

  static Shape linear(std::uint32_t rows, std::uint32_t in_features, std::uint32_t out_features,
                      Epilogue epilogue = Epilogue::none) noexcept {
    return {OperatorType::linear, epilogue, {0, 0, 0, 0, 0, 0, in_features, out_features, 0, rows}};
  }
  static Shape conv2d(std::uint32_t height, std::uint32_t width, std::uint32_t in_channels,
                      std::uint32_t out_channels, const Window& window,
                      Epilogue epilogue = Epilogue::none) noexcept {
    return windowed(OperatorType::conv2d, epilogue, 0, window, {in_channels, out_channels, height, width});
  }
  static Shape depthwise_conv2d(std::uint32_t height, std::uint32_t width, std::uint32_t channels,
                                const Window& window, Epilogue epilogue = Epilogue::none) noexcept {
    return windowed(OperatorType::depthwise_conv2d, epilogue, 0, window, {0, channels, height, width});
  }
  static Shape pool2d(PoolMode mode, std::uint32_t height, std::uint32_t width, std::uint32_t channels,
                      const Window& window) noexcept {
    return windowed(OperatorType::pool2d, Epilogue::none, static_cast<std::uint32_t>(mode), window,
                    {0, channels, height, width});
  }

 private:
  static Shape windowed(OperatorType type, Epilogue epilogue, std::uint32_t mode, const Window& window,
                        const std::array<std::uint32_t, 4>& sizes) noexcept {
    return {type,
            epilogue,
            {mode, window.kernel_h, window.kernel_w, window.stride, window.pad_h, window.pad_w, sizes[0],
             sizes[1], sizes[2], sizes[3]}};
  }
};

// How to run an operator: the CPU computes output channels [0, cut) on `threads` threads, the GPU the rest.
struct Decision {
  static constexpr std::uint32_t kNoRecord = std::numeric_limits<std::uint32_t>::max();

  Policy match = Policy::exact;  // which policy found it
  Processor processor = Processor::cpu;
  std::uint8_t threads = 0;  // 0 for all-GPU
  Join join = Join::none;    // none for all-CPU
  std::uint32_t cut = 0;
  std::uint32_t distance = 0;        // of the nearest shape, in 256ths of a doubling
  std::uint32_t record = kNoRecord;  // the table's row that it comes from; none for table_default
  double predicted_us = 0.0;         // of that row, as are the next; 0 for table_default
  double cpu_us = 0.0;
  double gpu_us = 0.0;
};

}  // namespace splitfleet::runtime
