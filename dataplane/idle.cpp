#include "dataplane/idle.hpp"

#include <poll.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "dataplane/to_guest/batch.hpp"

namespace netback {
namespace {

uint64_t cycles_of(uint32_t spin_us) {
  return spin_us == Idle::spin_always ? UINT64_MAX : spin_us * (rte_get_tsc_hz() / 1'000'000);
}

bool runs(const PortQueue* port) {
  return port->running.load(std::memory_order_acquire);
}

// Of a port, so that its descriptor can be waited for again. It is an eventfd, with a count of 64
// bits, or a uio device, which refuses to read any other number of bytes than its 32.
void take_interrupts(int fd) {
  uint64_t count;
  for (const size_t bytes : {sizeof(uint64_t), sizeof(uint32_t)})
    if (read(fd, &count, bytes) > 0) return;
}

// Whether the queue has work already.
bool arm(GuestQueue& queue) {
  if (queue.quarantined) return false;
  // Those that wait for a rate do so until it is time, whatever the guest says.
  const bool requests = queue.takes_frames() && !queue.held && queue.from_guest.arm();
  // Buffers that the guest posts matter only to frames that wait for them.
  if (queue.backlog.count() == 0) return requests;
  const rte_mbuf* next = queue.backlog.at(0);
  const bool hashed = hash_for(queue, next).has_value();
  const bool buffers = queue.to_guest.arm(slots_for(next, hashed, xdp_headroom(queue)));
  return requests || buffers;
}

}  // namespace

Idle::Idle(uint32_t spin_us, Mailbox& mailbox, EventChannels& events, CrossingEnd* crossing)
    : spin_cycles_(cycles_of(spin_us)), mailbox_(mailbox), events_(events), crossing_(crossing) {}

void Idle::after_turn(bool busy, uint64_t now, uint32_t sleep_us_max, QueueSet& queues,
                      std::span<PortQueue* const> ports, WorkerCounters& counters) {
  if (busy || mailbox_.has_commands()) {  // more than one turn takes wait for the next
    last_work_ = now;
    if (armed_) disarm(ports);
    return;
  }
  if (now - last_work_ < spin_cycles_) return;
  if (!armed_) {
    if (crossing_ != nullptr) crossing_->arm();
    armed_ = true;
    if (arm_all(queues, ports)) last_work_ = now;
    return;  // one more turn looks at what came before the arming
  }
  counters.add(WorkerCounter::worker_sleeps);
  sleep(sleep_us_max, ports, now - last_work_ >= limits::quiet_ms * (rte_get_tsc_hz() / 1000));
  disarm(ports);
}

// Whether there is work already. A parked queue that has some becomes hot: the turn that looks once
// more looks at all of those.
bool Idle::arm_all(QueueSet& queues, std::span<PortQueue* const> ports) {
  queues.unpark_if(arm);
  bool more = false;
  queues.each_hot([&](GuestQueue& queue) { more |= arm(queue); });
  for (PortQueue* port : ports)
    if (runs(port) && port->receive_fd >= 0) rte_eth_dev_rx_intr_enable(port->device, port->queue);
  return more;
}

void Idle::disarm(std::span<PortQueue* const> ports) {
  armed_ = false;
  if (crossing_ != nullptr) crossing_->disarm();
  for (PortQueue* port : ports)
    if (runs(port) && port->receive_fd >= 0) rte_eth_dev_rx_intr_disable(port->device, port->queue);
}

// `quiet`: there was no work for long.
void Idle::sleep(uint32_t sleep_us_max, std::span<PortQueue* const> ports, bool quiet) {
  const uint32_t look_us =
      quiet ? limits::sleep_us_without_interrupt_quiet : limits::sleep_us_without_interrupt;
  std::array<pollfd, limits::ports_max + 2> fds;
  nfds_t count = 0;
  fds[count++] = {mailbox_.worker_fd(), POLLIN, 0};
  fds[count++] = {events_.fd(), POLLIN, 0};
  for (PortQueue* port : ports) {
    if (!runs(port)) continue;
    if (port->receive_fd >= 0)
      fds[count++] = {port->receive_fd, POLLIN, 0};
    else if (port->can.receives)
      sleep_us_max = std::min(sleep_us_max, look_us);
  }
  const timespec at_most{.tv_sec = sleep_us_max / 1'000'000,
                         .tv_nsec = long{sleep_us_max % 1'000'000} * 1000};
  ppoll(fds.data(), count, &at_most, nullptr);
  take_wakers({fds.data(), count});
}

// Only what woke it is read: for all else that would be a system call for nothing. What came while
// it was awake, for work long done, ends the next sleep at once. Taking events unmasks their ports,
// so that the next kick gets through.
void Idle::take_wakers(std::span<const pollfd> fds) {
  const auto woke = [](const pollfd& fd) { return (fd.revents & POLLIN) != 0; };
  if (woke(fds[0])) mailbox_.clear_worker_fd();
  if (woke(fds[1])) events_.drain();
  for (const pollfd& fd : fds.subspan(2))
    if (woke(fd)) take_interrupts(fd.fd);
}

}  // namespace netback
