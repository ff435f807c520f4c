// Large frames between two guests of a worker: behind the first of a stream they go from the
// sender's pages to the receiver's.
#include "dataplane/direct.hpp"

#include <rte_cycles.h>

#include <set>

#include "tests/unit/support/direct.hpp"
#include "tests/unit/support/hashes.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Frames = std::vector<Bytes>;

}  // namespace

TEST_CASE("direct: behind the first frame of a stream, one copy for each page") {
  DirectHost f;
  f.start();
  const Packet packet = f.packet();
  f.put(packet);
  f.turn();
  CHECK((f.received() == Frames{whole(packet)}));
  CHECK(f.direct() == 1);
  // The headers come here; then they and 30,000 bytes of 8 pages go.
  CHECK(xen().operations_per_call == std::vector<uint32_t>{1, 1 + 8});
  CHECK(xen().impossible_copies == 0);
  f.check_answers();
  CHECK(f.sender.count(Q::from_guest_frames) == 2);
  CHECK(f.sender.count(Q::from_guest_gso_frames) == 2);
  CHECK(f.sender.count(Q::from_guest_bytes) == 2 * packet.bytes.size());
  CHECK(f.receiver.count(Q::to_guest_frames) == 2);
  CHECK(f.receiver.count(Q::to_guest_gso_frames) == 2);
  CHECK(f.receiver.count(Q::to_guest_bytes) == 2 * packet.bytes.size());
  CHECK(f.receiver.count(Q::to_guest_slots) == f.receiver.to_guest.consumed());
  CHECK(f.receiver.count(Q::to_guest_copy_calls) == 2);
  CHECK(f.worker.counters().read(WorkerCounter::worker_to_guest_copy_calls) == 2);
  CHECK(f.ports[0]->sent_bytes().empty());
}

TEST_CASE("direct: frames of all lengths and layouts, of IPv4 and IPv6, are the sender's") {
  for (const bool ipv6 : {false, true}) {
    for (const uint32_t large_buffers : {64u, 0u}) {
      DirectHost f(large_buffers, 20);
      f.start();
      uint64_t sent = 0;
      for (const size_t payload : {12'000u, 12'223u, 16'384u, 20'001u, 43'434u, 65'400u}) {
        for (const Layout& layout :
             {Layout{}, Layout{.place = 0}, Layout{.place = 3000},
              Layout{.first = 2000, .place = 17}, Layout{.first = 4096}, Layout{.empty = true},
              Layout{.page_end = 4095}, Layout{.place = 1}}) {
          INFO(ipv6 << large_buffers << " " << payload << " " << layout.first << " " << layout.place
                    << " " << layout.page_end);
          const size_t first = std::max(layout.first, size_t{ipv6 ? 74u : 54u});
          const Packet packet = f.packet({.ipv6 = ipv6, .payload = payload});
          auto& ring = f.receiver.to_guest;
          f.receiver.post_buffers(20 - (ring.produced() - ring.consumed()));
          f.put(packet, {.first = first, .place = layout.place, .page_end = layout.page_end});
          f.turn();
          CHECK((f.received() == Frames{whole(packet)}));
          // The first slot's bytes lie in one buffer, or the frame is fetched whole.
          sent += large_buffers > 0 || first <= FramePool::buffer_bytes;
          CHECK(f.direct() == sent);
          f.check_answers();
        }
      }
      CHECK(xen().impossible_copies == 0);
    }
  }
}

TEST_CASE("direct: several frames of a turn go by one call, in order") {
  DirectHost f;
  f.start();
  Frames sent = f.put_several(5);
  f.turn();
  CHECK((f.received() == sent));
  CHECK(f.direct() == 5);
  CHECK(xen().copy_calls == 2);
  f.check_answers();
}

TEST_CASE("direct: extra info goes with such frames too: of a hash, of headroom") {
  DirectHost f;
  const Hashing hashing(hash_settings());
  f.receiver.queue->hashing = &hashing;
  f.receiver.queue->xdp_headroom = 256;
  f.start();
  const Packet packet = f.packet();
  f.put(packet);
  f.turn();
  CHECK((f.received() == Frames{whole(packet)}));
  CHECK(f.direct() == 1);
  CHECK(f.receiver.count(Q::to_guest_hashed_frames) == 2);
}

TEST_CASE("direct: headers are those that were checked, whatever the sender makes of them then") {
  DirectHost f;
  f.sender.settings.lock_mac = true;
  f.start();
  const Packet packet = f.packet();
  f.put(packet);
  uint8_t* const first_page = f.sender.page(9);  // nine of the stream's first frame
  REQUIRE(std::equal(packet.bytes.begin(), packet.bytes.begin() + 12, first_page));
  xen().during_copy = [&] {
    if (xen().copy_calls == 1) std::memset(first_page, 0x66, 66);
  };
  f.turn();
  xen().during_copy = nullptr;
  CHECK((f.received() == Frames{whole(packet)}));
  CHECK(f.direct() == 1);
}

TEST_CASE("direct: no frame overtakes those that wait for buffers") {
  DirectHost f(64, 9 + 9);
  f.start();  // takes nine
  Frames sent = f.put_several(3);
  f.turn();
  CHECK(f.direct() == 1);  // for which there were buffers
  Frames got = f.received();
  CHECK((got == Frames{sent[0]}));
  f.receiver.post_buffers(9);
  const Packet last = f.packet();
  sent.push_back(whole(last));
  f.put(last);
  f.turn();
  CHECK(f.direct() == 1);
  CHECK_FALSE(f.sender.queue->streams_to_guest);  // not tried while others wait
  f.receiver.post_buffers(60);
  f.turn();
  for (Bytes& frame : f.received()) got.push_back(std::move(frame));
  CHECK((got == sent));
  f.check_answers();
}

TEST_CASE("direct: frames of one turn for two guests each go to their own") {
  DirectHost f;
  TestGuest& other = f.add_guest();
  other.settings.takes_gso_tcpv4 = true;
  other.post_buffers(60);
  f.start();
  const Packet packet = f.packet();
  Packet to_other = f.packet();
  std::copy_n(other.settings.mac.addr_bytes, 6, to_other.bytes.begin());
  f.put(packet);
  f.put(to_other);
  f.turn();
  CHECK((f.received() == Frames{whole(packet)}));
  CHECK(f.direct() == 1);
  CHECK(other.count(Q::to_guest_bytes) == to_other.bytes.size());
  CHECK(other.count(Q::to_guest_gso_frames) == 1);
}

TEST_CASE("direct: a turn takes no more of a guest's slots than all of its queues may have") {
  DirectHost f(64, 20);
  f.receiver.queue->xdp_headroom = 2048;
  f.start();
  f.turn(limits::empty_turns_before_parking + 1);  // the sender has the turns to itself
  f.receiver.post_buffers(230);
  for (int i = 0; i < 7; ++i) f.put(f.packet({.payload = 65'400}));
  rte_delay_us_block(limits::parked_look_interval_us);
  f.turn();
  CHECK(f.direct() == 3);  // of 34 slots each, of 128
  CHECK(f.receiver.count(Q::to_guest_frames) == 1 + 6);
}

TEST_CASE("direct: any queue of a vif sends so, and its first one owes it") {
  DirectHost f;
  TestGuest& second = f.add_queue(f.sender);
  const auto send = [&](const rte_ether_addr& to) {
    Packet packet = f.packet();
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    put_gso_packet(second, packet, segment_bytes);
    second.from_guest.push();
    f.turn();
  };
  send(f.receiver.settings.mac);
  CHECK(second.queue->streams_to_guest);
  CHECK_FALSE(f.sender.queue->streams_to_guest);
  f.sender.queue->debt_slots = 0;
  send(f.receiver.settings.mac);
  CHECK(second.count(Q::from_guest_direct_frames) == 1);
  CHECK(f.sender.queue->debt_slots == 1);
  CHECK(second.queue->debt_slots == 0);
  f.sender.settings.takes_gso_tcpv4 = true;
  f.sender.post_buffers(60);
  send(f.sender.settings.mac);
  CHECK(second.count(Q::from_guest_drop_to_sender_frames) == 1);
}

TEST_CASE("direct: to a guest of several queues each flow keeps to its queue") {
  DirectHost f;
  TestGuest* const queues[] = {&f.receiver, &f.add_queue(f.receiver)};
  queues[1]->post_buffers(150);
  const auto put_and_find_queue = [&](uint8_t flow) {
    const uint64_t before = queues[0]->count(Q::to_guest_frames);
    f.seed = flow;  // which the addresses depend on
    f.put(f.packet());
    f.turn();
    return queues[0]->count(Q::to_guest_frames) > before ? 0 : 1;
  };
  std::set<int> used;
  for (uint8_t flow = 0; flow < 8; ++flow) {
    f.sender.queue->streams_to_guest = false;
    const int queue = put_and_find_queue(flow);
    used.insert(queue);
    CHECK(f.direct() == flow);
    CHECK(put_and_find_queue(flow) == queue);
    CHECK(f.direct() == flow + 1u);
  }
  CHECK(used.size() == 2);
}

TEST_CASE("direct: what such frames cost others and what they say of a stream is as of all") {
  DirectHost f;
  f.start();
  f.sender.queue->debt_slots = 0;
  f.put(f.packet());
  f.put(f.packet());
  const uint64_t before = rte_rdtsc();
  f.turn();
  CHECK(f.direct() == 2);
  CHECK(f.sender.queue->debt_slots == 2);
  CHECK(f.worker.expects_work(before + rte_get_tsc_hz() / 200));
}
