// What the parts of netcheck share: words of the command line, errors, the pseudo-random stream.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;

inline std::vector<std::string> words;              // of the command line, after the verb
inline std::map<std::string, std::string> options;  // --name=value

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "netcheck: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

inline int check(int result, const char* what) {
  if (result < 0) fail(what);
  return result;
}

inline uint64_t option(const char* name, uint64_t standard) {
  const auto found = options.find(name);
  return found == options.end() ? standard : std::stoull(found->second);
}

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline void print_json(std::initializer_list<std::pair<const char*, uint64_t>> counts) {
  const char* separator = "{";
  for (const auto& [name, count] : counts) {
    std::printf("%s\"%s\": %llu", separator, name, static_cast<unsigned long long>(count));
    separator = ", ";
  }
  std::puts("}");
}

// Word number `index` of the endless pseudo-random stream `seed` (splitmix64).
inline uint64_t stream_word(uint64_t seed, uint64_t index) {
  uint64_t word = seed * 0xd1342543de82ef95 + index * 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

inline void fill(uint8_t* out, size_t bytes, uint64_t seed, uint64_t first_word) {
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t word = stream_word(seed, first_word++);
    std::memcpy(out + at, &word, std::min<size_t>(8, bytes - at));
  }
}

inline bool readable(int fd, uint64_t timeout_ms) {
  pollfd wait{fd, POLLIN, 0};
  return poll(&wait, 1, int(timeout_ms)) > 0;
}

// Reads of it fail after so long without a byte, not 0: one system call for each, where readable()
// makes it two.
inline void give_up_after(int fd, uint64_t timeout_ms) {
  const timeval longest{time_t(timeout_ms / 1000), suseconds_t(timeout_ms % 1000 * 1000)};
  check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest), "SO_RCVTIMEO");
}

// Keeps a sender to `--rate` units per second.
class Pace {
 public:
  void wait_after(uint64_t units) {
    sent_ += units;
    if (rate_ == 0) return;
    const std::chrono::duration<double> due_s(double(sent_) / double(rate_));
    const auto due = std::chrono::duration_cast<Clock::duration>(due_s);
    // What a long pause of the other side cost is not made up for.
    if (Clock::now() - start_ > due + std::chrono::seconds(1)) start_ = Clock::now() - due;
    std::this_thread::sleep_until(start_ + due);
  }

 private:
  uint64_t rate_ = option("rate", 0);
  uint64_t sent_ = 0;
  Clock::time_point start_ = Clock::now();
};

// netcheck_frames.cpp
int frames_send();
int frames_capture();
int link_events();

// netcheck_groups.cpp
int group_recv();
int group_send();

// netcheck_registers.cpp
int keep_registers();
