// What a vif's backlog may hold of large buffers. The rest: forward_test, vif_queues_test.
#include "dataplane/backlogs.hpp"

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("backlogs: the backlog is bounded by half of what is free of what a frame lies in") {
  TestHost host({.large_buffers = 64});
  TestGuest& guest = host.add_guest();
  guest.settings.frame_bytes_max = 9014;
  for (int i = 0; i < 12; ++i)
    host.ports[0]->feed(
        make_large_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 5000)));
  host.leave_large_buffers(8);
  host.turn();
  CHECK(guest.queue->backlog.count() == 4);  // each weighs 6, and 8 are free
  CHECK(guest.queue->backlog.buffers() == 24);
  CHECK(guest.count(QueueCounter::to_guest_drop_backlog_full_frames) == 8);
  for (int i = 0; i < 3; ++i) host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60));
  host.turn();  // there are short buffers
  CHECK(guest.queue->backlog.count() == 7);
  guest.post_buffers(20);
  host.turn();
  CHECK(host.delivered(guest).size() == 7);
  CHECK(guest.queue->backlog.buffers() == 0);
}

TEST_CASE("backlogs: no backlog holds more than 512 buffers by weight") {
  TestHost host({.large_buffers = 400});
  TestGuest& guest = host.add_guest();
  guest.settings.frame_bytes_max = 9014;
  for (int i = 0; i < 90; ++i) {
    host.ports[0]->feed(
        make_large_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 5000)));
    host.turn();
  }
  CHECK(guest.queue->backlog.count() == 86);
  CHECK(guest.queue->backlog.buffers() == 516);
}
