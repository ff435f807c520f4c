// Vifs with several queues through a worker: forwarding, and what befalls the queues together.
#include <algorithm>

#include "dataplane/queue_choice.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A host with a guest of two queues (0 and 1) and one of one queue (2).
struct TwoQueues : TestHost {
  TestGuest& first = add_guest();
  TestGuest& second = add_queue(first);
  TestGuest& other = add_guest();

  // A UDP packet from port number `flow`.
  Bytes packet(const rte_ether_addr& to, const TestGuest& from, uint8_t flow) {
    Packet made = make_packet({.udp = true});
    std::copy_n(to.addr_bytes, 6, made.bytes.begin());
    std::copy_n(from.settings.mac.addr_bytes, 6, made.bytes.begin() + 6);
    made.bytes[made.l4 + 1] = flow;
    return made.bytes;
  }
  // A flow whose frames go to a queue of the first guest.
  uint8_t flow_to(const TestGuest& queue) {
    for (uint8_t flow = 0;; ++flow) {
      rte_mbuf* frame = make_mbuf(*pool, packet(first.settings.mac, other, flow));
      const bool there = &choose_queue(*first.queue, frame) == queue.queue.get();
      rte_pktmbuf_free(frame);
      if (there) return flow;
    }
  }
  void send(TestGuest& from, const Bytes& bytes, uint16_t id = 1) {
    from.put_frame(bytes, id);
    from.from_guest.push();
    turn();
  }
};

}  // namespace

TEST_CASE("vif queues: a flow comes by one queue, in order; flows come by all") {
  TwoQueues host;
  for (TestGuest* queue : {&host.first, &host.second}) queue->post_buffers(60);
  std::vector<Bytes> to_first, to_second;
  const uint8_t first_flow = host.flow_to(host.first), second_flow = host.flow_to(host.second);
  for (uint8_t i = 0; i < 40; ++i) {  // by turns and in rows
    const bool first = i < 20 ? i % 2 == 0 : i < 30;
    Bytes frame =
        host.packet(host.first.settings.mac, host.other, first ? first_flow : second_flow);
    frame.back() = i;
    (first ? to_first : to_second).push_back(frame);
    host.other.put_frame(frame, i);
  }
  host.other.from_guest.push();
  host.turn();
  CHECK(host.delivered(host.first) == to_first);
  CHECK(host.delivered(host.second) == to_second);
  CHECK(host.first.count(QueueCounter::to_guest_frames) == 20);
  CHECK(host.second.count(QueueCounter::to_guest_frames) == 20);
}

TEST_CASE("vif queues: a flood comes by one queue, and not back to any of the sender's") {
  TwoQueues host;
  for (auto& guest : host.guests) guest->post_buffers(5);
  const Bytes frame = host.packet(broadcast, host.other, 1);
  host.send(host.other, frame);
  CHECK(host.delivered(host.first).size() + host.delivered(host.second).size() == 1);
  CHECK(host.ports[0]->sent_bytes() == std::vector<Bytes>{frame});
  for (TestGuest* sender : {&host.first, &host.second}) {
    const Bytes own = host.packet(broadcast, *sender, 1);
    host.send(*sender, own);
    CHECK(host.delivered(host.first).empty());
    CHECK(host.delivered(host.second).empty());
    CHECK(host.delivered(host.other) == std::vector<Bytes>{own});
    CHECK(host.ports[0]->sent_bytes() == std::vector<Bytes>{own});
  }
}

TEST_CASE("vif queues: a vif that sees everything sees each flow by one queue") {
  TestHost host;
  TestGuest& first = host.add_guest(0, false);
  TestGuest& second = host.add_queue(first);
  for (TestGuest* queue : {&first, &second}) queue->post_buffers(40);
  size_t expected[2] = {};
  for (uint8_t flow = 0; flow < 40; ++flow) {
    Packet packet = make_packet({.udp = true});
    std::copy_n(elsewhere.addr_bytes, 6, packet.bytes.begin());
    packet.bytes[packet.l4 + 1] = flow;
    rte_mbuf* frame = make_mbuf(*host.pool, packet.bytes);
    ++expected[choose_queue(*first.queue, frame).number];
    host.ports[0]->feed(frame);
  }
  host.turn(2);
  CHECK(host.delivered(first).size() == expected[0]);
  CHECK(host.delivered(second).size() == expected[1]);
  CHECK(std::min(expected[0], expected[1]) > 5);
}

TEST_CASE("vif queues: a GSO frame that is cut comes by its flow's queue, and counts there") {
  for (const bool to_all : {false, true}) {
    TwoQueues host;
    host.other.settings.gso_tcpv4_offered = true;
    for (TestGuest* queue : {&host.first, &host.second}) queue->post_buffers(40);
    Packet packet = make_packet({.payload = 20'000, .tcp_flags = all_tcp_flags});
    const rte_ether_addr& to = to_all ? broadcast : host.first.settings.mac;
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    std::copy_n(host.other.settings.mac.addr_bytes, 6, packet.bytes.begin() + 6);
    for (uint8_t port = 0; port < 8; ++port) {
      packet.bytes[packet.l4 + 1] = port;
      rte_mbuf* frame = make_mbuf(*host.pool, packet.bytes);
      const bool second = choose_queue(*host.first.queue, frame).number == 1;
      rte_pktmbuf_free(frame);
      TestGuest& chosen = second ? host.second : host.first;
      TestGuest& not_chosen = second ? host.first : host.second;
      const uint64_t before = chosen.count(QueueCounter::to_guest_cut_frames);
      const uint64_t others = not_chosen.count(QueueCounter::to_guest_cut_frames);
      put_gso_packet(host.other, packet, 1000);
      host.other.from_guest.push();
      host.turn();
      CHECK(host.delivered(chosen).size() == 20);
      CHECK(host.delivered(not_chosen).empty());
      CHECK(chosen.count(QueueCounter::to_guest_cut_frames) == before + 1);
      CHECK(not_chosen.count(QueueCounter::to_guest_cut_frames) == others);
      host.ports[0]->sent_bytes();
      chosen.post_buffers(20);
    }
  }
}

TEST_CASE("vif queues: what is dropped of a guest counts at the queue that sent it") {
  TwoQueues host;
  host.send(host.second, host.packet(host.first.settings.mac, host.second, 1));
  CHECK(host.second.count(QueueCounter::from_guest_drop_to_sender_frames) == 1);
  host.ports[0]->queue.running = false;
  host.send(host.second, host.packet(elsewhere, host.second, 1), 2);
  CHECK(host.second.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
  host.send(host.first, host.packet(elsewhere, host.first, 1));
  CHECK(host.first.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
  CHECK(host.first.count(QueueCounter::from_guest_drop_to_sender_frames) == 0);
  CHECK(host.second.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
}

TEST_CASE(
    "vif queues: the backlogs of a vif are bounded together, a dead queue leaves the others") {
  TwoQueues host;
  const uint32_t vif_max = 40;
  for (TestGuest* queue : {&host.first, &host.second}) queue->settings.backlog_frames_max = vif_max;
  const auto feed = [&](const TestGuest& queue, uint32_t frames) {
    const Bytes bytes = host.packet(host.first.settings.mac, host.other, host.flow_to(queue));
    for (uint32_t i = 0; i < frames; ++i) host.ports[0]->feed(bytes);
    host.turn(4);
  };
  feed(host.first, 60);  // its own part and all that is common
  CHECK(host.first.queue->backlog.count() == vif_max * 3 / 4);
  CHECK(host.first.count(QueueCounter::to_guest_drop_backlog_full_frames) == 30);
  feed(host.second, 60);
  CHECK(host.second.queue->backlog.count() == vif_max / 4);
  CHECK(host.second.count(QueueCounter::to_guest_drop_backlog_full_frames) == 50);
  host.first.post_buffers(30);
  host.turn();
  feed(host.second, 60);
  CHECK(host.second.queue->backlog.count() == vif_max * 3 / 4);
  feed(host.first, 60);
  CHECK(host.first.queue->backlog.count() == vif_max / 4);
  host.second.post_buffers(100);
  host.first.post_buffers(100);
  host.turn();
  CHECK(host.first.queue->backlog.count() + host.second.queue->backlog.count() == 0);
}

TEST_CASE("vif queues: the least backlog is a frame for each queue") {
  TwoQueues host;
  for (TestGuest* queue : {&host.first, &host.second}) queue->settings.backlog_frames_max = 1;
  for (const TestGuest* queue : {&host.first, &host.second})
    for (int i = 0; i < 3; ++i)
      host.ports[0]->feed(host.packet(host.first.settings.mac, host.other, host.flow_to(*queue)));
  host.turn(2);
  CHECK(host.first.queue->backlog.count() == 1);
  CHECK(host.second.queue->backlog.count() == 1);
}

TEST_CASE("vif queues: buffers of backlogs are bounded together, too") {
  TwoQueues host;
  host.leave_buffers(200);
  // Fed as they arrive, so that half of what is free does not shrink below what is asked for here.
  const auto feed = [&](const TestGuest& queue, uint32_t frames) {
    const Bytes bytes = host.packet(host.first.settings.mac, host.other, host.flow_to(queue));
    for (uint32_t i = 0; i < frames; ++i) {
      host.ports[0]->feed(bytes);
      host.turn();
    }
  };
  feed(host.first, 120);
  const uint32_t first = host.first.queue->backlog.count();
  feed(host.second, 120);
  const uint32_t both = first + host.second.queue->backlog.count();
  INFO(first << " and both " << both);
  CHECK(host.second.queue->backlog.count() > 0);
  CHECK(both <= 100);
  host.first.post_buffers(first);
  host.second.post_buffers(both - first);
  host.turn();
}

TEST_CASE("H32_a_violation_on_one_queue_takes_all_of_the_vif_off_and_is_reported_once") {
  for (const bool second_lies : {false, true}) {
    for (const bool both_lie : {false, true}) {
      TwoQueues host;
      TestGuest& liar = second_lies ? host.second : host.first;
      TestGuest& sibling = second_lies ? host.first : host.second;
      sibling.put_frame(host.packet(elsewhere, sibling, 1), 5);
      sibling.from_guest.push();
      for (TestGuest* queue : {&host.first, &host.second})
        host.ports[0]->feed(host.packet(host.first.settings.mac, host.other, host.flow_to(*queue)));
      host.turn();
      CHECK(sibling.queue->backlog.count() == 1);
      liar.from_guest.req_prod() += 300;
      if (both_lie) sibling.from_guest.req_prod() += 300;
      host.turn();
      host.read_reports();
      REQUIRE(host.quarantines.size() == 1);
      if (!both_lie) CHECK(host.quarantines[0].queue == liar.queue.get());
      CHECK(host.quarantines[0].violation == Violation::impossible_producer);
      for (TestGuest* queue : {&host.first, &host.second}) {
        CHECK(queue->queue->quarantined);
        CHECK(queue->queue->backlog.count() == 0);
        CHECK(queue->count(QueueCounter::to_guest_drop_detached_frames) == 1);
      }
      CHECK(sibling.answers().size() == 1);  // what was taken is answered
      // Neither is served any more, in either direction.
      sibling.post_buffers(3);
      for (const TestGuest* queue : {&host.first, &host.second})
        host.ports[0]->feed(host.packet(host.first.settings.mac, host.other, host.flow_to(*queue)));
      if (!both_lie) host.send(sibling, host.packet(elsewhere, sibling, 1), 6);
      host.turn(3);
      CHECK(sibling.answers().empty());
      CHECK(host.delivered(sibling).empty());
      for (TestGuest* queue : {&host.first, &host.second})
        CHECK(queue->count(QueueCounter::to_guest_drop_detached_frames) == 2);
      // The other guest goes on.
      host.send(host.other, host.packet(elsewhere, host.other, 1));
      host.turn();
      CHECK(host.other.answers().size() == 1);
      host.read_reports();
      CHECK(host.quarantines.size() == 1);
    }
  }
}

TEST_CASE("vif queues: once the table lacks their vif none of them takes frames") {
  TwoQueues host;
  host.use_table({host.first.queue->vif});
  for (TestGuest* queue : {&host.first, &host.second}) {
    CHECK_FALSE(queue->queue->placed);
    host.send(*queue, host.packet(elsewhere, *queue, 1));
    CHECK(queue->answers().empty());
  }
  host.use_table();
  host.turn(2);
  for (TestGuest* queue : {&host.first, &host.second}) CHECK(queue->answers().size() == 1);
}

TEST_CASE("vif queues: parked ones of a vif are placed by a table as well") {
  TwoQueues host;
  host.turn(limits::empty_turns_before_parking + 1);
  host.use_table({host.first.queue->vif});
  for (TestGuest* queue : {&host.first, &host.second}) CHECK_FALSE(queue->queue->placed);
  host.use_table();
  for (TestGuest* queue : {&host.first, &host.second}) CHECK(queue->queue->placed);
}
