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

TEST_CASE("backlogs: what ports may need of the large buffers is nobody's to wait in") {
  TestHost host({.large_buffers = 64});
  TestGuest& guest = host.add_guest();
  guest.settings.frame_bytes_max = 9014;
  host.pool->keep_large(56);
  for (int i = 0; i < 8; ++i) {
    host.ports[0]->feed(
        make_large_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 5000)));
    host.turn();
  }
  // 1 holds while 6 are free beside what is kept, 2 while 5 are; then its half is used up.
  CHECK(guest.queue->backlog.count() == 3);
}

TEST_CASE("backlogs: one that is given up weighs nothing, whatever its frames lay in") {
  TestHost host({.large_buffers = 64});
  TestGuest& guest = host.add_guest();
  guest.settings.frame_bytes_max = 9014;
  host.ports[0]->feed(make_large_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 5000)));
  host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60));
  host.turn();
  CHECK(guest.queue->backlog.buffers() == 7);
  host.detach(guest);
  CHECK(guest.queue->backlog.count() == 0);
  CHECK(guest.queue->backlog.buffers() == 0);
}

TEST_CASE("backlogs: each of a vif's queues has its part of the large buffers") {
  TestHost host({.large_buffers = 64});
  TestGuest& first = host.add_guest();
  host.add_queue(first);
  first.settings.frame_bytes_max = 9014;
  host.leave_large_buffers(40);
  for (int i = 0; i < 30; ++i) {
    host.ports[0]->feed(
        make_large_mbuf(*host.pool, make_frame(first.settings.mac, elsewhere, 5000)));
    host.turn();
  }
  // All are one flow's. Alone it could have half of 40, less as they are used up; a quarter of
  // that is the other queue's.
  CHECK(first.queue->backlog.count() == 11);
}
