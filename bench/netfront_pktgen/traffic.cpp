#include "bench/netfront_pktgen/traffic.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "bench/netfront_pktgen/mac.hpp"

namespace netback {
namespace {

constexpr uint32_t polls_per_look = 4096;  // at the backend, a system call

uint16_t be16(const uint8_t* at) {
  return static_cast<uint16_t>(at[0] << 8 | at[1]);
}

void put_be16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

// The pattern behind the number: a byte of it depends on the position and the number.
uint8_t pattern(uint64_t number, uint32_t at) {
  return static_cast<uint8_t>(number * 31 + at * 7 + 1);
}

}  // namespace

Traffic::Traffic(FrontQueue& queue, const TrafficOptions& options, const std::atomic<bool>& stopped,
                 const QueuePart& part, Tap* tap)
    : queue_(queue),
      frontend_(queue.frontend()),
      options_(options),
      part_(part),
      stopped_(stopped),
      tap_(tap) {
  write_headers();
}

// Ethernet, IPv4 with its checksum, UDP without one: what pktgen sends.
void Traffic::write_headers() {
  frame_.assign(options_.bytes, 0);
  targets_ = read_macs(options_.to);
  groups_ = read_macs(options_.groups);
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

double Traffic::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool Traffic::ended(uint64_t frames) const {
  return stopped_ || frontend_.backend_closes() ||
         (options_.count > 0 && frames >= options_.count) ||
         (options_.seconds > 0 && now() - started_ >= options_.seconds);
}

bool Traffic::over(uint64_t frames) {
  if (++looks_ % polls_per_look == 0) frontend_.look_at_backend();
  return ended(frames);
}

// Polling, it looks again at once: where a hypervisor traps PAUSE it is no short wait.
void Traffic::pause(std::chrono::nanoseconds longest) {
  if (options_.events) frontend_.wait(longest);
}

uint64_t Traffic::next_burst() const {
  return options_.count > 0 ? std::min<uint64_t>(options_.burst, options_.count - sent_)
                            : options_.burst;
}

// Whole bursts, however often it looks.
double Traffic::due_after() const {
  return options_.rate > 0 ? double(sent_ + next_burst()) / double(options_.rate) : 0;
}

// What is due and finds no room waits for an answer, of which there is an event.
std::chrono::nanoseconds Traffic::until_due() const {
  using std::chrono::nanoseconds;
  if (options_.rate == 0 || ended(sent_)) return pause_max;
  const std::chrono::duration<double> left(due_after() - (now() - started_));
  if (left.count() > 0) return std::min(pause_max, std::chrono::duration_cast<nanoseconds>(left));
  return queue_.under_way() > 0 ? pause_max : nanoseconds(0);
}

// Frames longer than a page take several slots: how many; 0: not enough buffers are free.
uint32_t Traffic::take_buffers(size_t bytes, uint32_t* buffers) {
  const auto slots = static_cast<uint32_t>((bytes + netif::page_bytes - 1) / netif::page_bytes);
  for (uint32_t i = 0; i < slots; ++i) {
    const int buffer = queue_.take_buffer();
    if (buffer < 0) {
      while (i > 0) queue_.give_buffer(buffers[--i]);
      return 0;
    }
    buffers[i] = static_cast<uint32_t>(buffer);
  }
  return slots;
}

// Any frame; false: not enough buffers are free.
bool Traffic::put_whole(std::span<const uint8_t> frame, uint16_t flags,
                        const Segmentation& segmentation) {
  uint32_t buffers[frame_slots_max];
  const bool segmented = segmentation.segment_bytes > 0;
  if (queue_.free_slots() < frame_slots_max + 1) return false;
  if (segmented) flags |= NETTXF_extra_info;
  const uint32_t slots = take_buffers(frame.size(), buffers);
  for (uint32_t i = 0; i < slots; ++i) {
    const auto piece = frame.subspan(i * netif::page_bytes);
    const auto here = static_cast<uint32_t>(std::min<size_t>(piece.size(), netif::page_bytes));
    std::copy_n(piece.begin(), here, queue_.from_guest_page(buffers[i]));
    const bool last = i + 1 == slots;
    queue_.put(buffers[i], i == 0 ? static_cast<uint32_t>(frame.size()) : here,
               static_cast<uint16_t>((last ? 0 : NETTXF_more_data) | (i == 0 ? flags : 0)));
    if (i == 0 && segmented) queue_.put_segmentation(segmentation);
  }
  return slots > 0;
}

// A frame of the generator's. Each target has numbers of its own, each queue every so manyth of
// them, and flows of its own.
bool Traffic::put_frame(uint64_t number) {
  if (options_.segment_bytes > 0) return put_tcp_frame();
  const auto* target = targets_.data();
  if (targets_.size() > 1) {  // a division costs more than the rest of a short frame
    target += number % targets_.size();
    number /= targets_.size();
  }
  const uint32_t flow =
      options_.flows > 1 ? static_cast<uint32_t>(number % options_.flows) : 0;  // as before
  number = number * part_.count + part_.number;
  uint32_t buffers[frame_slots_max];
  if (options_.send_hash && queue_.free_slots() < frame_slots_max + 1) return false;
  const uint32_t slots = take_buffers(options_.bytes, buffers);
  for (uint32_t i = 0; i < slots; ++i) {
    const uint32_t from = i * netif::page_bytes;
    const uint32_t here = std::min(options_.bytes - from, netif::page_bytes);
    uint8_t* bytes = queue_.from_guest_page(buffers[i]);
    if (options_.numbered)
      std::copy_n(&frame_[from], here, bytes);
    else if (i == 0)
      std::copy_n(frame_.data(), number_at, bytes);
    if (i == 0) {
      std::ranges::copy(*target, bytes);
      if (options_.flows * part_.count > 1)
        put_be16(bytes + udp_at, 1024 + part_.number * options_.flows + flow);
      std::copy_n(reinterpret_cast<const uint8_t*>(&number), sizeof(number), bytes + number_at);
    }
    for (uint32_t at = i == 0 ? number_at + 8 : 0; options_.numbered && at < here; ++at)
      bytes[at] = pattern(number, from + at);
    const bool last = i + 1 == slots;
    const bool hashed = i == 0 && options_.send_hash;
    queue_.put(buffers[i], i == 0 ? options_.bytes : here,
               static_cast<uint16_t>((last ? 0 : NETTXF_more_data) | NETTXF_data_validated |
                                     (hashed ? NETTXF_extra_info : 0)));
    if (hashed)
      queue_.put_hash({_XEN_NETIF_CTRL_HASH_TYPE_IPV4, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
                       *options_.send_hash});
  }
  return slots > 0;
}

uint32_t Traffic::send_burst(uint32_t frames) {
  uint32_t put = 0;
  while (put < frames && put_frame(sent_)) ++put, ++sent_;
  if (put > 0) queue_.push_from_guest();
  return put;
}

void Traffic::note_warm_up() {
  if (steady_since_ != 0 || now() - started_ < options_.warm_up) return;
  steady_since_ = now();
  answered_cold_ = answered_;
}

bool Traffic::send_due(double seconds) {
  answered_ += queue_.reap();
  if (options_.warm_up > 0) note_warm_up();
  const uint64_t burst = next_burst();
  if (seconds < due_after()) return false;
  const uint32_t put = send_burst(static_cast<uint32_t>(burst));
  ++bursts_;
  if (put < burst) ++cut_bursts_;
  return put > 0;
}

bool Traffic::send_some() {
  return send_due(options_.rate > 0 ? now() - started_ : 0);
}

void Traffic::send() {
  while (!over(sent_))
    if (!send_some()) pause(until_due());
  wait_for_answers();
}

void Traffic::wait_for_answers() {
  const double until = now() + 5;
  while (queue_.under_way() > 0 && now() < until && !frontend_.backend_closes()) {
    answered_ += queue_.reap();
    pause();
  }
}

bool Traffic::receive_some() {
  FrontQueue::Received received;
  uint32_t posted = 0;
  while (posted < options_.burst && queue_.receive(received)) {
    options_.tcp ? check_tcp(received) : check_slot(received);
    queue_.post(received.buffer);
    ++posted;
  }
  if (posted > 0) queue_.push_to_guest();
  return posted > 0;
}

void Traffic::receive() {
  bool leaves = options_.leave_after > 0;
  while (!over(received_)) {
    if (!receive_some()) pause();
    if (!leaves || received_ < options_.leave_after) continue;
    leaves = false;
    ask_for_groups(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
  }
  receive_rest();
}

// No more than a ring holds: where frames keep coming there is always a rest.
void Traffic::receive_rest() {
  uint32_t slots = 0;
  while (stopped_ && slots < netif::ring_slots && receive_some()) slots += options_.burst;
}

void Traffic::both() {
  bool sending = true;
  while (sending || (options_.linger && !stopped_)) {
    sending = sending && !over(sent_);
    const bool sent = sending && send_some();
    const bool received = receive_some();
    if (!sent && !received) {
      answered_ += queue_.reap();
      pause(until_due());
    }
  }
  receive_rest();
  wait_for_answers();
}

bool Traffic::step() {
  const bool sends = options_.verb == Verb::send || options_.verb == Verb::both;
  bool moved = false;
  if (sends && !over(sent_)) moved = send_some();
  answered_ += queue_.reap();
  if (options_.verb == Verb::echo) return echo_some() || moved;
  return receive_some() || moved;
}

bool Traffic::finished() {
  if (options_.verb == Verb::both && options_.linger) return stopped_;
  return over(options_.verb == Verb::send || options_.verb == Verb::both ? sent_ : received_);
}

// Every guest looks at who a frame is for. A page that nobody reads would stay in the cache of the
// backend's core, and the next frame there cost it less than any guest's does.
void Traffic::begin_frame(const FrontQueue::Received& received) {
  headroom_ = received.headroom;
  if (headroom_ > 0) ++with_headroom_;
  received_multicast_ += *queue_.bytes_of(received) & 1;
}

// A frame's slots come one after the other.
void Traffic::check_slot(const FrontQueue::Received& received) {
  if (received.bytes < 0) {
    ++bad_status_;
    received_at_ = 0;
    return;
  }
  const auto count = static_cast<uint32_t>(received.bytes);
  received_bytes_ += count;
  if (options_.hash_types != 0 && received_at_ == 0) check_hash(received);
  if (options_.numbered) check_bytes(queue_.bytes_of(received), count);
  const bool last = (received.flags & NETRXF_more_data) == 0;
  if (received_at_ == 0) begin_frame(received);
  received_at_ = last ? 0 : received_at_ + count;
  if (last) ++received_;
}

void Traffic::check_bytes(const uint8_t* bytes, uint32_t count) {
  if (received_at_ == 0) {
    received_number_ = numbered_never;
    if (count < number_at + 8) return;
    uint64_t number;
    std::copy_n(bytes + number_at, sizeof(number), reinterpret_cast<uint8_t*>(&number));
    if (number >= Numbers::end) {
      ++changed_;
      return;
    }
    const auto verdict = part_.numbers->note(number, be16(bytes + udp_at));
    repeated_ += verdict.repeated;
    reordered_ += verdict.reordered;
    received_number_ = number;
  }
  if (received_number_ == numbered_never) return;
  for (uint32_t at = received_at_ == 0 ? number_at + 8 : 0; at < count; ++at)
    if (bytes[at] != pattern(received_number_, received_at_ + at)) {
      ++changed_;
      received_number_ = numbered_never;
      return;
    }
}

// Adds a slot to the frame that is being received; true when that was its last.
bool Traffic::gather(const FrontQueue::Received& received) {
  if (received_at_ == 0) {
    gathered_.clear();
    gathered_flags_ = received.flags;
    gathered_segmentation_ = received.segmentation;
  }
  const uint8_t* bytes = queue_.bytes_of(received);
  if (received.bytes > 0) gathered_.insert(gathered_.end(), bytes, bytes + received.bytes);
  check_slot(received);
  return received.bytes > 0 && received_at_ == 0;
}

nlohmann::json Traffic::run() {
  begin();
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
    case Verb::tap:
      tap();
      break;
    case Verb::churn:
      churn();
      break;
    case Verb::hold:  // of many vifs (many.hpp)
      break;
  }
  return result();
}

void Traffic::begin() {
  ask_for_groups(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
  started_ = now();
}

}  // namespace netback
