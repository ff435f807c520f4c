// What netfront-pktgen does with a vif.
#pragma once

#include <array>
#include <atomic>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/netfront/frontend.hpp"

namespace netback {

enum class Verb { send, receive, both, echo, ping };

struct TrafficOptions {
  Verb verb = Verb::send;
  uint32_t bytes = 60;
  uint32_t burst = 32;
  uint32_t flows = 1;
  uint64_t rate = 0;   // frames per second
  uint64_t count = 0;  // frames
  double seconds = 0;
  std::string to = "ff:ff:ff:ff:ff:ff";  // or several, with commas between: by turns
  bool numbered = false;
  bool events = false;
  bool linger = false;  // both: after the last frame go on receiving until `stopped`
};

class Traffic {
 public:
  Traffic(Frontend& frontend, const TrafficOptions& options, const std::atomic<bool>& stopped);
  // Until the count, the time or `stopped`. "faults" are answers and frames that should not be.
  nlohmann::json run();

 private:
  void send();
  void receive();
  void both();
  void echo();
  void ping();
  bool over(uint64_t frames) const;
  void pause();
  bool send_some();     // a burst of what is due; false: nothing was sent
  bool receive_some();  // false: nothing was there
  uint32_t send_burst(uint32_t frames);
  bool put_frame(uint64_t number);
  void write_headers();
  void check_frame(const Frontend::Received& received);
  void wait_for_answers();

  Frontend& frontend_;
  const TrafficOptions options_;
  const std::atomic<bool>& stopped_;
  double started_ = 0;
  std::vector<uint8_t> frame_;  // as sent, number and receiver excepted
  std::vector<std::array<uint8_t, 6>> targets_;
  uint64_t sent_ = 0, answered_ = 0, received_ = 0, received_bytes_ = 0;
  uint64_t next_number_ = 0, reordered_ = 0, changed_ = 0, bad_status_ = 0;
  std::vector<bool> seen_;  // numbers received
  uint64_t repeated_ = 0;
  std::vector<double> round_trips_;  // microseconds
};

}  // namespace netback
