// A frame at a time, and how long each takes to come back.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

void Traffic::wait_until(double time) {
  while (!stopped_ && now() < time)
    if (options_.events) std::this_thread::sleep_for(std::chrono::duration<double>(time - now()));
}

// Others may send to us, too.
bool Traffic::carries(const FrontQueue::Received& received, uint64_t number) const {
  if (received.bytes < static_cast<int32_t>(number_at + sizeof(number))) return false;
  const uint8_t* bytes = queue_.bytes_of(received);
  const auto own = [&](const uint8_t* address) {
    return std::equal(address, address + 6, &frame_[6]);
  };
  // Reflected by an echo, or as it was by a port.
  return (own(bytes) || own(bytes + 6)) &&
         std::memcmp(bytes + number_at, &number, sizeof(number)) == 0;
}

void Traffic::ping() {
  FrontQueue::Received received;
  while (!over(sent_)) {
    const double began = now();
    send_burst(1);
    bool back = false, answer = false;
    while (!back && now() - began < 1) {
      bool any = false;
      while (queue_.receive(received)) {
        any = true;
        if (received_at_ == 0) answer = carries(received, sent_ - 1);
        check_slot(received);
        queue_.post(received.buffer);
        back |= answer && received_at_ == 0;
      }
      if (back) round_trips_.add(static_cast<uint64_t>((now() - began) * 1e9));
      if (any)
        queue_.push_to_guest();
      else
        pause();
    }
    answered_ += queue_.reap();
    if (options_.rate > 0) wait_until(began + 1.0 / double(options_.rate));
  }
  wait_for_answers();
}

}  // namespace netback
