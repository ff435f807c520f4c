// The loop: commands, turns, back-pressure, drains, notifications.
#include "dataplane/worker.hpp"

#include <chrono>
#include <thread>

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Frames = std::vector<Bytes>;

void feed_guest(TestHost& host, TestGuest& guest, int frames) {
  for (int i = 0; i < frames; ++i)
    host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60u + unsigned(i)));
}

}  // namespace

TEST_CASE("worker: without a table it moves nothing") {
  Bench bench;
  Mailbox mailbox;
  Worker worker({}, mailbox, *bench.grants, *bench.events, *bench.pool);
  TestGuest guest(0);
  REQUIRE(mailbox.post({.sequence = 1, .what = AttachQueue{guest.queue.get()}}));
  guest.put_frame(plain_frame(60), 1);
  guest.from_guest.push();
  CHECK_FALSE(worker.turn());
  CHECK(guest.queue->from_guest.next_slot() == 0);
}

TEST_CASE("worker: acks each command once, at most eight a turn, in order") {
  Bench bench;
  Mailbox mailbox;
  Worker worker({}, mailbox, *bench.grants, *bench.events, *bench.pool);
  TestGuest guest(0);
  for (uint32_t i = 1; i <= 10; ++i)
    REQUIRE(mailbox.post({.sequence = i, .what = UseSettings{guest.queue.get(), &guest.settings}}));
  Report report;
  worker.turn();
  for (uint32_t i = 1; i <= 8; ++i) {
    REQUIRE(mailbox.next_report(report));
    CHECK(std::get<Acked>(report).sequence == i);
  }
  CHECK_FALSE(mailbox.next_report(report));
  worker.turn();
  for (uint32_t i = 9; i <= 10; ++i) {
    REQUIRE(mailbox.next_report(report));
    CHECK(std::get<Acked>(report).sequence == i);
  }
}

TEST_CASE("worker: a turn that moves a frame is busy, others are not") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  CHECK_FALSE(host.worker.turn());
  guest.put_frame(host.frame(elsewhere, guest), 1);
  guest.from_guest.push();
  CHECK(host.worker.turn());
  CHECK_FALSE(host.worker.turn());
  feed_guest(host, guest, 1);
  CHECK(host.worker.turn());
  CHECK_FALSE(host.worker.turn());
  guest.post_buffers(1);
  CHECK(host.worker.turn());
  CHECK_FALSE(host.worker.turn());
}

TEST_CASE("worker: a stream's slots wait for company for gather_us") {
  TestHost host({.gather_us = 20'000});
  TestGuest& guest = host.add_guest();
  for (uint16_t i = 0; i < 10; ++i) guest.put_frame(host.frame(elsewhere, guest), i);
  guest.from_guest.push();
  host.turn();
  CHECK(host.ports[0]->sent_bytes().size() == 10);
  guest.put_frame(host.frame(elsewhere, guest), 10);
  guest.from_guest.push();
  const auto started = std::chrono::steady_clock::now();
  while (host.ports[0]->sent_bytes().empty()) host.turn();
  const auto waited = std::chrono::steady_clock::now() - started;
  CHECK(waited > std::chrono::milliseconds(15));
  CHECK(waited < std::chrono::milliseconds(500));
}

TEST_CASE("worker: new settings count from the next turn") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  VifSettings locked = guest.settings;
  locked.lock_mac = true;
  const uint32_t sequence = host.post(UseSettings{guest.queue.get(), &locked});
  guest.put_frame(plain_frame(60), 1);
  guest.from_guest.push();
  host.turn();
  CHECK(host.acked(sequence));
  CHECK(guest.count(QueueCounter::from_guest_drop_source_address_frames) == 1);
}

TEST_CASE("worker: a detached port is not asked any more") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.post_buffers(2);
  feed_guest(host, guest, 1);
  host.post(DetachPort{&host.ports[0]->queue});
  host.turn();
  CHECK(host.delivered(guest).empty());
  host.post(AttachPort{&host.ports[0]->queue});
  host.turn();
  CHECK(host.delivered(guest).size() == 1);
}

TEST_CASE("worker: frames of one turn go through in order") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  Frames frames;
  for (uint16_t i = 0; i < 100; ++i) {
    frames.push_back(host.frame(elsewhere, guest, 60 + i));
    guest.put_frame(frames.back(), i);
  }
  guest.from_guest.push();
  host.turn(2);
  CHECK(host.ports[0]->sent_bytes() == frames);
  CHECK(guest.answers().size() == 100);
}

TEST_CASE("seed_S02_a_full_port_holds_no_guest_up") {
  TestHost host({.port_takes = 15});
  TestGuest& a = host.add_guest();
  TestGuest& b = host.add_guest();
  for (uint16_t i = 0; i < 10; ++i) {
    a.put_frame(host.frame(elsewhere, a), i);
    b.put_frame(host.frame(elsewhere, b), i);
  }
  a.from_guest.push();
  b.from_guest.push();
  host.turn(2);
  for (TestGuest* guest : {&a, &b}) {
    const auto answers = guest->answers();
    REQUIRE(answers.size() == 10);
    for (const auto& answer : answers) CHECK(answer.status == NETIF_RSP_OKAY);
  }
  CHECK(host.ports[0]->sent_bytes().size() == 15);
  CHECK(a.count(QueueCounter::from_guest_drop_port_full_frames) +
            b.count(QueueCounter::from_guest_drop_port_full_frames) ==
        5);
}

TEST_CASE("seed_S05_what_finds_no_slot_waits_and_arrives_in_order") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.post_buffers(2);
  feed_guest(host, guest, 6);
  host.turn();
  Frames arrived = host.delivered(guest);
  CHECK(arrived.size() == 2);
  guest.post_buffers(1);
  host.turn();
  for (auto& frame : host.delivered(guest)) arrived.push_back(frame);
  guest.post_buffers(9);
  host.turn();
  for (auto& frame : host.delivered(guest)) arrived.push_back(frame);
  REQUIRE(arrived.size() == 6);
  for (size_t i = 0; i < 6; ++i) CHECK(arrived[i].size() == 60 + i);
}

TEST_CASE("seed_S16_each_frame_is_counted_where_it_went") {
  TestHost host;
  TestGuest& a = host.add_guest();
  TestGuest& b = host.add_guest();
  b.post_buffers(3);
  a.put_frame(host.frame(b.settings.mac, a, 80), 1);
  a.put_frame(host.frame(elsewhere, a, 90), 2);
  a.from_guest.push();
  feed_guest(host, b, 1);
  host.turn(2);
  CHECK(a.count(QueueCounter::from_guest_frames) == 2);
  CHECK(a.count(QueueCounter::from_guest_bytes) == 170);
  CHECK(b.count(QueueCounter::to_guest_frames) == 2);
  CHECK(b.count(QueueCounter::to_guest_bytes) == 140);
  CHECK(host.ports[0]->count(PortCounter::port_sent_frames) == 1);
  CHECK(host.ports[0]->count(PortCounter::port_received_frames) == 1);
}

TEST_CASE("worker: a nearly empty pool delays frames and loses none") {  // H33
  TestHost host;
  TestGuest& guest = host.add_guest();
  for (uint16_t i = 0; i < 50; ++i) guest.put_frame(host.frame(elsewhere, guest, 60 + i), i);
  guest.from_guest.push();
  host.leave_buffers(3);
  Frames arrived;
  for (int turn = 0; turn < 30; ++turn) {
    host.turn();
    for (auto& frame : host.ports[0]->sent_bytes()) arrived.push_back(frame);
  }
  REQUIRE(arrived.size() == 50);
  for (size_t i = 0; i < 50; ++i) CHECK(arrived[i].size() == 60 + i);
  CHECK(host.worker.counters().read(WorkerCounter::worker_pool_empty_turns) == 16);
  CHECK(guest.answers().size() == 50);
}

TEST_CASE("worker: a guest that takes nothing for stall_ms loses its backlog, once") {  // H26
  TestHost host;
  TestGuest& guest = host.add_guest();
  TestGuest& other = host.add_guest();
  guest.settings.stall_ms = 3;
  feed_guest(host, guest, 4);
  host.turn();
  CHECK_FALSE(guest.queue->stalled);
  CHECK(guest.queue->backlog.count() == 4);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  host.turn();
  CHECK(guest.queue->stalled);
  CHECK(guest.count(QueueCounter::to_guest_drop_stalled_frames) == 4);
  CHECK_FALSE(other.queue->stalled);
  guest.post_buffers(1);
  feed_guest(host, guest, 1);
  host.turn();
  CHECK_FALSE(guest.queue->stalled);
  CHECK(host.delivered(guest).size() == 1);
}

TEST_CASE("worker: a detached queue's backlog is dropped and counted, answers are published") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  guest.put_frame(host.frame(elsewhere, guest), 8);
  guest.from_guest.push();
  host.turn();
  CHECK(guest.answers().empty());  // held
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), false});
  host.turn();
  CHECK(host.acked(sequence));
  CHECK(guest.answers().size() == 1);
  CHECK(guest.count(QueueCounter::to_guest_drop_detached_frames) == 3);
  CHECK(guest.queue->backlog.count() == 0);
  guest.put_frame(host.frame(elsewhere, guest), 9);
  guest.from_guest.push();
  host.turn(2);
  CHECK(guest.answers().empty());
}

// Control frees it on the ack, which may be before this turn has ended.
TEST_CASE("worker: a detached queue is not looked at any more, from the turn of its ack on") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  guest.put_frame(host.frame(elsewhere, guest), 8);
  guest.from_guest.push();
  host.turn();
  guest.put_frame(host.frame(elsewhere, guest), 9);
  guest.from_guest.push();
  host.turn();  // now it has a backlog and held answers
  host.use_table({0});
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), false});
  guest.from_guest.req_prod() = guest.to_guest.req_prod() = 10'000;
  guest.queue->answered_this_turn = true;
  host.turn(3);
  CHECK(host.acked(sequence));
  CHECK(host.quarantines.empty());
  CHECK(guest.queue->answered_this_turn);  // respond would have cleared it
  CHECK(guest.answers().size() == 2);
}

TEST_CASE("worker: a queue that was detached with a backlog can be attached again") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  host.turn();
  host.detach(guest);
  host.post(AttachQueue{guest.queue.get()});
  host.use_table();
  guest.post_buffers(1);
  feed_guest(host, guest, 1);
  host.turn();
  CHECK(host.delivered(guest).size() == 1);
}

TEST_CASE("worker: a drain delivers what waits, takes nothing new, then acks") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  host.turn();
  host.use_table({0});
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), true});
  guest.put_frame(host.frame(elsewhere, guest), 8);
  guest.from_guest.push();
  host.turn(3);
  CHECK_FALSE(host.acked(sequence));
  CHECK(guest.queue->from_guest.next_slot() == 0);
  guest.post_buffers(2);
  host.turn();
  CHECK_FALSE(host.acked(sequence));
  guest.post_buffers(1);
  host.turn();
  CHECK(host.acked(sequence));
  CHECK(host.delivered(guest).size() == 3);
  CHECK(guest.count(QueueCounter::to_guest_drop_detached_frames) == 0);
}

TEST_CASE("worker: a vif that the table has no more sends nothing, until it is back in one") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  host.use_table({0});
  const Bytes frame = host.frame(elsewhere, guest);
  guest.put_frame(frame, 8);
  guest.from_guest.push();
  host.turn(3);
  CHECK(guest.queue->from_guest.next_slot() == 0);
  CHECK(guest.count(QueueCounter::from_guest_frames) == 0);
  host.use_table();
  host.turn(2);
  CHECK(host.ports[0]->sent_bytes() == std::vector<Bytes>{frame});
}

TEST_CASE("worker: answers that wait for a group are published when the drain begins") {
  TestHost host({.gather_us = 1'000'000});
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 1);  // a backlog: the drain lasts
  for (uint16_t i = 0; i < 10; ++i) guest.put_frame(host.frame(elsewhere, guest), i);
  guest.from_guest.push();  // a stream
  host.turn();
  guest.put_frame(host.frame(elsewhere, guest), 10);
  guest.from_guest.push();  // gathers
  host.turn(3);
  REQUIRE(guest.queue->from_guest.unpublished() == 10);
  host.use_table({0});
  host.post(DetachQueue{guest.queue.get(), true});
  host.turn();
  CHECK(guest.answers().size() == 10);
}

TEST_CASE("worker: a drain without a backlog is over at once") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), true});
  host.turn();
  CHECK(host.acked(sequence));
}

TEST_CASE("worker: a drain drops what is left after two seconds") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  host.turn();
  host.use_table({0});
  const auto started = std::chrono::steady_clock::now();
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), true});
  while (!host.acked(sequence)) {
    host.turn();
    REQUIRE(std::chrono::steady_clock::now() - started < std::chrono::seconds(3));
  }
  CHECK(std::chrono::steady_clock::now() - started > std::chrono::milliseconds(1900));
  CHECK(guest.count(QueueCounter::to_guest_drop_detached_frames) == 3);
}

TEST_CASE("worker: a guest that lies during its drain is quarantined and the drain ends") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  feed_guest(host, guest, 3);
  host.turn();
  host.use_table({0});
  const uint32_t sequence = host.post(DetachQueue{guest.queue.get(), true});
  guest.to_guest.req_prod() = 300;
  host.turn();
  CHECK(host.acked(sequence));
  CHECK(host.quarantines.size() == 1);
  CHECK(guest.count(QueueCounter::to_guest_drop_detached_frames) == 3);
}

TEST_CASE("worker: a two-slot frame with one slot posted waits for the second") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.settings.frame_bytes_max = 9000;
  host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 5000));
  host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60));
  guest.post_buffers(1);
  host.turn(3);
  CHECK(guest.to_guest.rsp_prod() == 0);
  guest.post_buffers(1);
  host.turn();
  CHECK(host.delivered(guest).size() == 1);
  guest.post_buffers(1);
  host.turn();
  CHECK(host.delivered(guest).size() == 1);
}

TEST_CASE("worker: polling asks no guest for events") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  for (uint16_t i = 0; i < 20; ++i) {
    guest.put_frame(host.frame(elsewhere, guest), i);
    guest.from_guest.push();
    host.turn(2);
  }
  CHECK(guest.from_guest.req_event() == 1);
  CHECK(guest.to_guest.req_event() == 1);
  CHECK(FakeXen::instance().event_reads == 0);
}
