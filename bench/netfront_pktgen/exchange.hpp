// A guest that sends the frames of a file, and writes those that come to it into another.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/frontend.hpp"

namespace netback {

// A frame to send: a line "HEX [blank] [gso=BYTES] [pieces=BYTES,..]" of a file.
struct ExchangeFrame {
  std::vector<uint8_t> bytes;    // of 60 to 65,535
  bool blank = false;            // its checksum is, in netif's words, blank
  uint16_t segment_bytes = 0;    // TCP, to be cut into segments of so many bytes of payload
  std::vector<uint32_t> pieces;  // what each slot has, 4,096 bytes at most, together all of it
};
// Of no file: no frames.
Result<std::vector<ExchangeFrame>> read_exchange(const std::string& file);

// Sends all of `frames`, some each millisecond, on the first queue, and goes on until it is
// stopped, or the backend closes the vif. Each frame that came is a line of `record`, as they came:
// "HEX [blank] [validated] [gso=BYTES]". "faults": answers and frames that should not be.
nlohmann::json exchange(Frontend& frontend, const std::vector<ExchangeFrame>& frames,
                        const std::string& record, const std::atomic<bool>& stopped);

}  // namespace netback
