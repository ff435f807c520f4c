// A tap of Linux's, for a guest whose frames are those of a Linux network stack: checksums may be
// blank, and frames stand for several, in both directions, as with Linux's own netfront.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/frontend.hpp"

namespace netback {

class Tap {
 public:
  // In the network namespace of the process; it lives as long as the object. `segmented`: the stack
  // leaves segmentation of TCP to us; that takes blank checksums.
  static Result<std::unique_ptr<Tap>> make(const std::string& name, const std::string& mac,
                                           bool blank_checksums, bool segmented);
  ~Tap();
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;

  int fd() const { return fd_; }
  struct Frame {
    std::vector<uint8_t> bytes;
    bool checksum_blank = false;
    Segmentation segmentation;
  };
  // The next frame of the stack; false: none.
  bool read(Frame& frame);
  // False: the stack did not take it.
  bool write(std::span<const uint8_t> frame, bool checksum_blank, const Segmentation& segmentation);

 private:
  explicit Tap(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace netback
