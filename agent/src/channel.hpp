// Lines of text between the two ends of a socket: the supervisor and its worker.
#pragma once

#include <cstdint>
#include <string>

namespace splitfleet {

class Channel {
 public:
  // Takes the socket over.
  explicit Channel(int socket) : socket_(socket) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // False when the other end is gone. `line` holds no line feed.
  bool send(const std::string& line);

  // Makes the channel this process's standard output, for a program to be executed; false when that fails.
  bool become_output() const;

  enum class Receipt { line, closed, late };
  // The next whole line, waited for until `deadline_ns` of the monotonic clock. `closed` too when the other
  // end sends more than a line can hold.
  Receipt receive(std::string& line, std::int64_t deadline_ns);

 private:
  bool take_line(std::string& line);

  int socket_;
  std::string received_;
  std::size_t searched_ = 0;  // no line feed lies before it
};

}  // namespace splitfleet
