// A worker whose guests say nothing: when it looks whether they do.
#include "dataplane/worker.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("worker: after a turn that moved frames, parked guests wait for their look") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.post_buffers(200);
  bool waited = false;  // unless the test itself stood still meanwhile
  for (uint8_t i = 0; i < 100 && !waited; ++i) {
    host.turn(limits::empty_turns_before_parking + 1);
    guest.put_frame(host.frame(elsewhere, guest), i);
    host.ports[0]->feed(make_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 60)));
    host.worker.turn();
    guest.from_guest.push();
    host.worker.turn();
    waited = guest.count(QueueCounter::from_guest_frames) == i;
    while (guest.count(QueueCounter::from_guest_frames) == i) host.worker.turn();
  }
  CHECK(waited);
}
