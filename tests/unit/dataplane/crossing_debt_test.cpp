// What a vif owes for frames that cross to another worker, and a turn with more of them than a
// worker keeps at once.
#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/gso.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// Two guests on each of two workers: who is alone on one owes nothing.
struct Pairs : Crew {
  Pairs() : Crew({{.worker = 0}, {.worker = 0}, {.worker = 1}, {.worker = 1}}) {
    for (auto& guest : guests) guest->settings.gso_tcpv4_offered = true;
  }
  uint32_t debt(uint32_t guest) const { return guests[guest]->queue->debt_slots; }
  void send_ten(TestGuest& from, const rte_ether_addr& to) {
    Packet packet = make_packet({.payload = 10'000});
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    put_gso_packet(from, packet, 1000);
    from.from_guest.push();
    turn();
  }
};

}  // namespace

TEST_CASE("crossing: a frame to another worker's guest is owed once, where it is sent") {
  Pairs c;
  c.send(*c.guests[0], c.frame(c.guests[2]->settings.mac, *c.guests[0]));
  CHECK(c.debt(0) == 1);
  CHECK(c.debt(2) == 0);
  c.send(*c.guests[0], c.frame(c.broadcast, *c.guests[0]));
  CHECK(c.debt(0) == 4);
  c.send(*c.guests[2], c.frame(c.elsewhere, *c.guests[2]));
  CHECK(c.debt(2) == 0);
}

TEST_CASE("crossing: only a worker of its own writes what a vif owes, whoever cuts its frames") {
  Pairs c;
  c.send_ten(*c.guests[0], c.guests[2]->settings.mac);
  CHECK(c.delivered(*c.guests[2]).size() == 10);
  CHECK(c.debt(0) == 1);
  c.send_ten(*c.guests[2], c.elsewhere);
  CHECK(c.port.sent_bytes().size() == 10);
  CHECK(c.debt(2) == 0);
}

TEST_CASE("crossing: more frames for a worker than one turn keeps all get there") {
  Pairs c;
  const Bytes frame = c.frame(c.guests[2]->settings.mac, *c.guests[0]);
  for (TestGuest* from : {c.guests[0].get(), c.guests[1].get()}) {
    for (int i = 0; i < 64; ++i) from->put_frame(frame, 1);
    from->from_guest.push();
  }
  for (int i = 0; i < 20; ++i) c.port.feed(make_frame(c.guests[2]->settings.mac, c.elsewhere, 60));
  for (int i = 0; i < 4; ++i) c.turn();
  CHECK(c.count(1, WorkerCounter::worker_crossed_frames) == 148);
  CHECK(c.guests[0]->count(QueueCounter::from_guest_drop_crossing_frames) == 0);
  CHECK(c.guests[2]->count(QueueCounter::to_guest_frames) == 60);
}
