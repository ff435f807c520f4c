// What netfront-pktgen does with a vif.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/netfront_pktgen/histogram.hpp"
#include "bench/netfront_pktgen/numbers.hpp"
#include "bench/netfront_pktgen/tap.hpp"
#include "bench/netfront_pktgen/tcp_stream.hpp"
#include "lib/netfront/frontend.hpp"

namespace netback {

// After it, whoever waits for an event looks whether it has been stopped.
inline constexpr std::chrono::nanoseconds pause_max = std::chrono::milliseconds(10);

// In the generator's frames; the number is each one's own.
inline constexpr uint32_t ip_at = 14, udp_at = ip_at + 20, number_at = udp_at + 8;

enum class Verb { send, receive, both, echo, ping, tap, hold, churn };

struct TrafficOptions {
  Verb verb = Verb::send;
  uint32_t bytes = 60;
  uint32_t burst = 32;
  uint32_t flows = 1;
  uint64_t rate = 0;   // frames per second
  uint64_t count = 0;  // frames
  double seconds = 0;
  double warm_up = 0;  // send: seconds after which steady_answered and steady_seconds begin
  std::string to = "ff:ff:ff:ff:ff:ff";  // or several, with commas between: by turns
  std::string groups;                    // multicast groups to join at the start, as `to` has them
  uint64_t leave_after = 0;              // receive: leave them after so many frames; 0: never
  uint32_t hash_types = 0;               // check the hash that each frame came with, by these types
  std::vector<uint8_t> hash_key;
  std::optional<uint32_t> send_hash;  // send: frames with this for their hash
  bool numbered = false;
  uint32_t segment_bytes = 0;  // send: TCP frames, to be cut into segments with so much payload
  bool ipv6 = false;           // those are over IPv6
  bool tcp = false;            // check the TCP stream that such frames are
  bool events = false;
  bool linger = false;     // both: after the last frame go on receiving until `stopped`
  bool unchanged = false;  // echo leaves the addresses as they are
};

// Which of a vif's queues it is, and the numbers that have come by all of them.
struct QueuePart {
  uint32_t number = 0, count = 1;
  std::shared_ptr<Numbers> numbers = std::make_shared<Numbers>();
};

// What goes through one queue of a vif.
class Traffic {
 public:
  // `tap`: of the verb of that name.
  Traffic(FrontQueue& queue, const TrafficOptions& options, const std::atomic<bool>& stopped,
          const QueuePart& part = {}, Tap* tap = nullptr);
  // Until the count, the time or `stopped`. "faults" are answers and frames that should not be.
  nlohmann::json run();

  // The same piece by piece, for many vifs or queues by turns. The time starts now.
  void begin();
  // Some frames of `send`, `receive`, `both` or `echo`; false: nothing moved.
  bool step();
  // Whether that is all.
  bool finished();
  // A burst if a whole one is due `seconds` later; false: nothing was sent.
  bool send_due(double seconds);
  // How long who waits for events may sleep before it sends again.
  std::chrono::nanoseconds until_due() const;
  bool receive_some();  // false: nothing was there
  // Who was stopped: what had come by then, however long it had not been given a CPU.
  void receive_rest();
  // What was sent is answered, or is not after 5 s. Then the result may be asked for.
  void wait_for_answers();
  nlohmann::json result() const;
  bool over(uint64_t frames);

 private:
  static constexpr uint64_t numbered_never = UINT64_MAX;
  static constexpr uint32_t frame_slots_max = 16;  // of 64 KiB, without extra info

  static double now();  // seconds
  void send();
  void receive();
  void both();
  void echo();
  bool echo_some();
  void ping();
  void tap();
  bool to_tap();
  bool from_tap();
  void pause(std::chrono::nanoseconds longest = pause_max);
  bool ended(uint64_t frames) const;
  uint64_t next_burst() const;  // frames
  double due_after() const;     // that burst: seconds since the start
  bool send_some();             // what is due now
  void note_warm_up();
  void wait_until(double time);
  uint32_t send_burst(uint32_t frames);
  bool put_frame(uint64_t number);
  void write_headers();
  void ask_for_groups(uint8_t type);
  void churn();
  uint32_t take_buffers(size_t bytes, uint32_t* buffers);
  bool put_whole(std::span<const uint8_t> frame, uint16_t flags,
                 const Segmentation& segmentation = {});
  bool put_tcp_frame();
  void reflect();
  void check_slot(const FrontQueue::Received& received);
  void check_bytes(const uint8_t* bytes, uint32_t count);
  void check_hash(const FrontQueue::Received& received);
  void check_tcp(const FrontQueue::Received& received);
  void begin_frame(const FrontQueue::Received& received);
  bool gather(const FrontQueue::Received& received);
  bool carries(const FrontQueue::Received& received, uint64_t number) const;

  FrontQueue& queue_;
  Frontend& frontend_;  // that has it
  const TrafficOptions options_;
  const QueuePart part_;
  const std::atomic<bool>& stopped_;
  Tap* const tap_;
  double started_ = 0, steady_since_ = 0;
  std::vector<uint8_t> frame_;  // as sent, number and receiver excepted
  std::vector<std::array<uint8_t, 6>> targets_, groups_;
  uint64_t sent_ = 0, answered_ = 0, received_ = 0, received_bytes_ = 0;
  uint64_t received_multicast_ = 0;       // of received_: to a group, or to all
  uint64_t answered_cold_ = 0;            // when the warm-up ended
  uint64_t bursts_ = 0, cut_bursts_ = 0;  // the second: found too few free slots
  uint64_t reordered_ = 0, repeated_ = 0, changed_ = 0, bad_status_ = 0;
  // The frame that is being received, slot by slot.
  uint32_t received_at_ = 0;  // bytes of it so far
  uint64_t received_number_ = numbered_never;
  std::vector<uint8_t> gathered_;
  uint16_t gathered_flags_ = 0;
  Segmentation gathered_segmentation_;
  uint64_t hashed_ = 0, bad_hashes_ = 0;
  uint64_t longest_ = 0, segmented_ = 0;  // of frames received
  uint64_t with_headroom_ = 0;            // of those, with extra info of it
  uint16_t headroom_ = 0;                 // of the last
  TcpStream stream_;
  // tap: a frame of the stack that found no buffers yet.
  bool frame_waits_ = false;
  Tap::Frame tap_frame_;
  uint64_t tap_refused_ = 0;
  Histogram round_trips_;
  uint32_t looks_ = 0;  // at whether it is over
};

}  // namespace netback
