// Frames to a guest that has a rate-to-guest.
#include <rte_cycles.h>

#include "dataplane/forward.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;

// Two guests on a port; the second one has an hour's credit of `bytes`.
struct RateHost : TestHost {
  RateBudget budget;
  TestGuest& sender = add_guest();
  TestGuest& receiver = add_guest();

  explicit RateHost(uint64_t bytes) {
    budget.set({.bytes = bytes, .interval_us = 3'600'000'000}, rte_get_tsc_hz());
    receiver.queue->to_guest_rate = &budget;
    receiver.post_buffers(100);
    sender.post_buffers(100);
  }
  void arrive(int frames, const rte_ether_addr& to, size_t bytes = 100) {
    for (int i = 0; i < frames; ++i) ports[0]->feed(make_frame(to, elsewhere, bytes));
    turn();
  }
  uint64_t dropped() const { return receiver.count(Q::to_guest_drop_rate_frames); }
  double credit() const { return budget.credit(static_cast<int64_t>(rte_rdtsc())); }
};

}  // namespace

TEST_CASE("forward: what a rate-to-guest has no credit for is dropped by name") {
  RateHost f(450);
  f.arrive(8, f.receiver.settings.mac);
  CHECK(f.delivered(f.receiver).size() == 5);
  CHECK(f.dropped() == 3);
  f.arrive(2, f.receiver.settings.mac);
  CHECK(f.dropped() == 5);
}

TEST_CASE("forward: a rate-to-guest counts broadcasts, and is one guest's alone") {
  RateHost f(250);
  f.arrive(8, broadcast);
  CHECK(f.delivered(f.receiver).size() == 3);
  CHECK(f.delivered(f.sender).size() == 8);
  CHECK(f.dropped() == 5);
  CHECK(f.sender.count(Q::to_guest_drop_rate_frames) == 0);
}

TEST_CASE("forward: what is dropped for another reason costs no credit") {
  RateHost f(500);
  f.receiver.settings.frame_bytes_max = 90;
  f.arrive(8, f.receiver.settings.mac);
  CHECK(f.receiver.count(Q::to_guest_drop_too_long_frames) == 8);
  CHECK(f.credit() == Approx(500).margin(1));
  f.receiver.settings.frame_bytes_max = 1514;
  f.receiver.settings.backlog_frames_max = 2;
  f.arrive(8, f.receiver.settings.mac);
  CHECK(f.receiver.count(Q::to_guest_drop_backlog_full_frames) == 6);
  CHECK(f.credit() == Approx(300).margin(1));
}

TEST_CASE("forward: a GSO frame is paid for whole, and goes through whole, cut or not") {
  for (const bool takes : {false, true}) {
    RateHost f(100);
    f.sender.settings.gso_tcpv4_offered = true;
    f.receiver.settings.takes_gso_tcpv4 = takes;
    Packet packet = make_packet({.payload = 30'000});
    std::copy_n(f.receiver.settings.mac.addr_bytes, 6, packet.bytes.begin());
    for (int i = 0; i < 2; ++i) put_gso_packet(f.sender, packet, 1400);
    f.sender.from_guest.push();
    f.turn();
    CHECK(f.receiver.count(Q::to_guest_frames) == (takes ? 1 : 22));
    CHECK(f.receiver.count(Q::to_guest_cut_frames) == (takes ? 0 : 1));
    CHECK(f.dropped() == 1);
    CHECK(f.credit() == Approx(100 - double(packet.bytes.size())).margin(1));
  }
}

TEST_CASE("forward: a rate-to-guest does not hold up what the guest sends") {
  RateHost f(1);
  f.arrive(3, f.receiver.settings.mac);
  for (uint16_t i = 0; i < 5; ++i) f.receiver.put_frame(f.frame(elsewhere, f.receiver), i);
  f.receiver.from_guest.push();
  f.turn();
  CHECK(f.ports[0]->sent_bytes().size() == 5);
}
