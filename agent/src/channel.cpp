#include "channel.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "clock.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxLine = 256 * 1024 * 1024;  // far above the samples of the largest `compare`
constexpr std::size_t kPiece = 64 * 1024;
constexpr std::int64_t kLongestPollMs = 60'000;

}  // namespace

Channel::~Channel() {
  close(socket_);
}

bool Channel::send(const std::string& line) {
  const std::string text = line + "\n";
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t sent = ::send(socket_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

bool Channel::become_output() const {
  return dup2(socket_, STDOUT_FILENO) == STDOUT_FILENO;
}

Channel::Receipt Channel::receive(std::string& line, std::int64_t deadline_ns) {
  std::string piece(kPiece, '\0');
  while (!take_line(line)) {
    if (received_.size() > kMaxLine) return Receipt::closed;
    // Rounded up: a wait of 0 ms would spin through the last millisecond.
    const std::int64_t left_ms = (deadline_ns - now_ns() + 999'999) / 1'000'000;
    if (left_ms <= 0) return Receipt::late;
    pollfd waited{socket_, POLLIN, 0};
    const int ready = poll(&waited, 1, static_cast<int>(std::min(left_ms, kLongestPollMs)));
    if (ready < 0 && errno != EINTR) return Receipt::closed;
    if (ready <= 0) continue;
    const ssize_t count = recv(socket_, &piece[0], piece.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Receipt::closed;
    received_.append(piece, 0, static_cast<std::size_t>(count));
  }
  return Receipt::line;
}

bool Channel::take_line(std::string& line) {
  const std::size_t end = received_.find('\n', searched_);
  searched_ = end == std::string::npos ? received_.size() : 0;
  if (end == std::string::npos) return false;
  line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return true;
}

}  // namespace splitfleet
