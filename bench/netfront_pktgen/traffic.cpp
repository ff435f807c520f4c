#include "bench/netfront_pktgen/traffic.hpp"

#include <arpa/inet.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>

namespace netback {
namespace {

constexpr uint32_t ip_at = 14, udp_at = ip_at + 20, number_at = udp_at + 8;
constexpr uint32_t numbered_max = 1U << 26;  // what is remembered of numbers seen

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::array<uint8_t, 6> read_mac(const std::string& text) {
  unsigned bytes[6] = {};
  sscanf(text.c_str(), "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
         &bytes[5]);
  std::array<uint8_t, 6> mac;
  std::copy(std::begin(bytes), std::end(bytes), mac.begin());
  return mac;
}

void put_be16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

// The pattern behind the number: a byte of it depends on the position and the number.
uint8_t pattern(uint64_t number, uint32_t at) {
  return static_cast<uint8_t>(number * 31 + at * 7 + 1);
}

double percentile(std::vector<double>& values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(part * double(values.size())))];
}

}  // namespace

Traffic::Traffic(Frontend& frontend, const TrafficOptions& options,
                 const std::atomic<bool>& stopped)
    : frontend_(frontend), options_(options), stopped_(stopped) {
  write_headers();
}

// Ethernet, IPv4 with its checksum, UDP without one: what pktgen sends.
void Traffic::write_headers() {
  frame_.assign(options_.bytes, 0);
  std::istringstream targets(options_.to);
  for (std::string target; std::getline(targets, target, ',');)
    targets_.push_back(read_mac(target));
  std::ranges::copy(read_mac(frontend_.mac()), &frame_[6]);
  put_be16(&frame_[12], 0x0800);
  uint8_t* ip = &frame_[ip_at];
  ip[0] = 0x45;
  put_be16(ip + 2, std::min(options_.bytes, 1514U) - ip_at);
  ip[8] = 64;
  ip[9] = 17;
  for (int i = 0; i < 4; ++i) ip[12 + i] = ip[16 + i] = i == 0 ? 10 : 1;
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  put_be16(ip + 10, ~sum & 0xffff);
  put_be16(&frame_[udp_at], 1024);
  put_be16(&frame_[udp_at + 2], 9);
  put_be16(&frame_[udp_at + 4], std::min(options_.bytes, 1514U) - udp_at);
}

bool Traffic::over(uint64_t frames) const {
  return stopped_ || (options_.count > 0 && frames >= options_.count) ||
         (options_.seconds > 0 && now() - started_ >= options_.seconds);
}

// Polling, it looks again at once: where a hypervisor traps PAUSE it is no short wait.
void Traffic::pause() {
  if (options_.events) frontend_.wait(10);
}

// Frames longer than a page take several slots; false: not enough buffers are free. Each target
// has numbers of its own.
bool Traffic::put_frame(uint64_t number) {
  const auto* target = targets_.data();
  if (targets_.size() > 1) {  // a division costs more than the rest of a short frame
    target += number % targets_.size();
    number /= targets_.size();
  }
  const uint32_t slots = (options_.bytes + netif::page_bytes - 1) / netif::page_bytes;
  uint32_t buffers[32];
  for (uint32_t i = 0; i < slots; ++i) {
    const int buffer = frontend_.take_buffer();
    if (buffer < 0) {
      while (i > 0) frontend_.give_buffer(buffers[--i]);
      return false;
    }
    buffers[i] = static_cast<uint32_t>(buffer);
  }
  for (uint32_t i = 0; i < slots; ++i) {
    const uint32_t from = i * netif::page_bytes;
    const uint32_t here = std::min(options_.bytes - from, netif::page_bytes);
    uint8_t* bytes = frontend_.from_guest_page(buffers[i]);
    if (options_.numbered)
      std::copy_n(&frame_[from], here, bytes);
    else if (i == 0)
      std::copy_n(frame_.data(), number_at, bytes);
    if (i == 0) {
      std::ranges::copy(*target, bytes);
      if (options_.flows > 1)
        put_be16(bytes + udp_at, 1024 + static_cast<uint32_t>(number % options_.flows));
      std::copy_n(reinterpret_cast<const uint8_t*>(&number), sizeof(number), bytes + number_at);
    }
    for (uint32_t at = i == 0 ? number_at + 8 : 0; options_.numbered && at < here; ++at)
      bytes[at] = pattern(number, from + at);
    const bool last = i + 1 == slots;
    frontend_.put(buffers[i], i == 0 ? options_.bytes : here,
                  static_cast<uint16_t>((last ? 0 : NETTXF_more_data) | NETTXF_data_validated));
  }
  return true;
}

uint32_t Traffic::send_burst(uint32_t frames) {
  uint32_t put = 0;
  while (put < frames && put_frame(sent_)) ++put, ++sent_;
  if (put > 0) frontend_.push_from_guest();
  return put;
}

bool Traffic::send_some() {
  answered_ += frontend_.reap();
  uint64_t burst = options_.burst;
  if (options_.count > 0) burst = std::min(burst, options_.count - sent_);
  if (options_.rate > 0) {
    const auto due = static_cast<uint64_t>((now() - started_) * double(options_.rate));
    burst = std::min(burst, due > sent_ ? due - sent_ : 0);
  }
  return send_burst(static_cast<uint32_t>(burst)) > 0;
}

void Traffic::send() {
  while (!over(sent_))
    if (!send_some()) pause();
  wait_for_answers();
}

void Traffic::wait_for_answers() {
  const double until = now() + 5;
  while (frontend_.under_way() > 0 && now() < until) {
    answered_ += frontend_.reap();
    pause();
  }
}

bool Traffic::receive_some() {
  Frontend::Received received;
  uint32_t posted = 0;
  while (posted < options_.burst && frontend_.receive(received)) {
    check_frame(received);
    frontend_.post(received.buffer);
    ++posted;
  }
  if (posted > 0) frontend_.push_to_guest();
  return posted > 0;
}

void Traffic::receive() {
  while (!over(received_))
    if (!receive_some()) pause();
}

void Traffic::both() {
  bool sending = true;
  while (sending || (options_.linger && !stopped_)) {
    sending = sending && !over(sent_);
    const bool sent = sending && send_some();
    const bool received = receive_some();
    if (!sent && !received) {
      answered_ += frontend_.reap();
      pause();
    }
  }
  wait_for_answers();
}

void Traffic::check_frame(const Frontend::Received& received) {
  if (received.bytes < 0) {
    ++bad_status_;
    return;
  }
  received_bytes_ += static_cast<uint32_t>(received.bytes);
  if ((received.flags & NETRXF_more_data) == 0) ++received_;
  if (!options_.numbered || static_cast<uint32_t>(received.bytes) < number_at + 8) return;
  const uint8_t* bytes = frontend_.to_guest_page(received.buffer) + received.offset;
  uint64_t number;
  std::copy_n(bytes + number_at, sizeof(number), reinterpret_cast<uint8_t*>(&number));
  if (number >= numbered_max) {
    ++changed_;
    return;
  }
  seen_.resize(std::max<size_t>(seen_.size(), number + 1));
  if (seen_[number]) ++repeated_;
  seen_[number] = true;
  if (number < next_number_) ++reordered_;
  next_number_ = std::max(next_number_, number + 1);
  for (uint32_t at = number_at + 8; at < static_cast<uint32_t>(received.bytes); ++at)
    if (bytes[at] != pattern(number, at)) {
      ++changed_;
      return;
    }
}

// Copies: a buffer of one ring cannot go into the other.
void Traffic::echo() {
  Frontend::Received received;
  while (!over(received_)) {
    bool any = false;
    while (frontend_.receive(received)) {
      any = true;
      check_frame(received);
      answered_ += frontend_.reap();
      const int buffer = received.bytes > 0 ? frontend_.take_buffer() : -1;
      if (buffer >= 0) {
        const uint8_t* in = frontend_.to_guest_page(received.buffer) + received.offset;
        uint8_t* out = frontend_.from_guest_page(static_cast<uint32_t>(buffer));
        std::copy_n(in, received.bytes, out);
        std::swap_ranges(out, out + 6, out + 6);
        frontend_.put(static_cast<uint32_t>(buffer), static_cast<uint32_t>(received.bytes),
                      NETTXF_data_validated);
        ++sent_;
      }
      frontend_.post(received.buffer);
    }
    if (any) {
      frontend_.push_to_guest();
      frontend_.push_from_guest();
    } else {
      answered_ += frontend_.reap();
      pause();
    }
  }
}

void Traffic::ping() {
  Frontend::Received received;
  while (!over(sent_)) {
    const double began = now();
    send_burst(1);
    bool back = false;
    while (!back && !stopped_ && now() - began < 1) {
      while (frontend_.receive(received)) {
        check_frame(received);
        frontend_.post(received.buffer);
        back = true;
      }
      if (!back) pause();
    }
    if (back) round_trips_.push_back((now() - began) * 1e6);
    frontend_.push_to_guest();
    answered_ += frontend_.reap();
    if (options_.rate > 0)
      while (!stopped_ && now() - began < 1.0 / double(options_.rate)) _mm_pause();
  }
}

nlohmann::json Traffic::run() {
  started_ = now();
  switch (options_.verb) {
    case Verb::send:
      send();
      break;
    case Verb::receive:
      receive();
      break;
    case Verb::both:
      both();
      break;
    case Verb::echo:
      echo();
      break;
    case Verb::ping:
      ping();
      break;
  }
  const double seconds = now() - started_;
  const uint64_t faults = frontend_.errors() + frontend_.bad_answers() + frontend_.under_way() +
                          bad_status_ + changed_ + repeated_ + reordered_;
  nlohmann::json result{{"seconds", seconds},
                        {"sent", sent_},
                        {"answered", answered_},
                        {"errors", frontend_.errors()},
                        {"unanswered", frontend_.under_way()},
                        {"bad_answers", frontend_.bad_answers()},
                        {"received", received_},
                        {"received_bytes", received_bytes_},
                        {"bad_status", bad_status_},
                        {"faults", faults},
                        {"sent_per_s", double(sent_) / seconds},
                        {"received_per_s", double(received_) / seconds}};
  if (options_.numbered) {
    result["changed"] = changed_;
    result["repeated"] = repeated_;
    result["reordered"] = reordered_;
    result["missing"] = next_number_ - (received_ - repeated_);
  }
  if (options_.verb == Verb::ping)
    for (const double part : {0.5, 0.9, 0.99})
      result["round_trip_us"]["p" + std::to_string(int(part * 100))] =
          percentile(round_trips_, part);
  return result;
}

}  // namespace netback
