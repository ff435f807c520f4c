// Which queue of a vif a frame goes to.
#include "dataplane/queue_choice.hpp"

#include <map>
#include <set>

#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct FlowHashing : Bench {
  uint32_t hash(const Bytes& bytes, uint32_t piece = 0) {
    rte_mbuf* frame = make_mbuf(*pool, bytes, piece);
    const uint32_t result = flow_hash(frame);
    rte_pktmbuf_free(frame);
    return result;
  }
  // Whether a change of the byte at `at` is another flow.
  bool matters(const Bytes& bytes, size_t at) {
    Bytes changed = bytes;
    changed.at(at) ^= 1;
    return hash(changed) != hash(bytes);
  }
};

}  // namespace

TEST_CASE("queue choice: addresses, protocol and ports are the flow, nothing else is") {
  for (const bool ipv6 : {false, true})
    for (const bool udp : {false, true})
      for (const bool tagged : {false, true})
        for (const size_t options : {size_t{0}, size_t{8}}) {
          if (ipv6 && options > 0) continue;
          FlowHashing h;
          const Packet packet =
              make_packet({.ipv6 = ipv6, .udp = udp, .tagged = tagged, .options = options});
          INFO("ipv6 " << ipv6 << " udp " << udp << " tagged " << tagged << " options " << options);
          std::set<size_t> flow;
          for (size_t at = packet.l3 + (ipv6 ? 8 : 12); at < packet.l3 + (ipv6 ? 40 : 20); ++at)
            flow.insert(at);
          for (size_t at = packet.l4; at < packet.l4 + 4; ++at) flow.insert(at);
          for (size_t at = 0; at < packet.bytes.size(); ++at) {
            // Those say where the rest is, or that the frame is a fragment.
            const bool kind =
                at == 12 || at == 13 || at == packet.l3 - 2 || at == packet.l3 - 1 ||
                at == packet.l3 || (ipv6 && at == packet.l3 + 6) ||
                (!ipv6 && (at == packet.l3 + 6 || at == packet.l3 + 7 || at == packet.l3 + 9));
            INFO("byte " << at);
            if (!kind) CHECK(h.matters(packet.bytes, at) == flow.contains(at));
          }
        }
}

TEST_CASE("queue choice: TCP and UDP between the same ends are two flows") {
  for (const bool ipv6 : {false, true}) {
    FlowHashing h;
    Packet packet = make_packet({.ipv6 = ipv6, .udp = true});
    const uint32_t udp = h.hash(packet.bytes);
    packet.bytes[packet.l3 + (ipv6 ? 6 : 9)] = 6;
    CHECK(h.hash(packet.bytes) != udp);
  }
}

TEST_CASE("queue choice: fragments of a datagram stay together, the first one too") {
  FlowHashing h;
  Packet first = make_packet({.udp = true});
  first.bytes[first.l3 + 6] = 0x20;  // more fragments
  first.bytes[first.l3 + 7] = 0;
  Packet later = first;
  later.bytes[later.l3 + 6] = 0;
  later.bytes[later.l3 + 7] = 9;  // offset, in 8 bytes
  for (size_t at = later.l4; at < later.bytes.size(); ++at) later.bytes[at] ^= 0x5a;  // no ports
  CHECK(h.hash(later.bytes) == h.hash(first.bytes));
  CHECK(h.matters(first.bytes, first.l3 + 12));
}

TEST_CASE("queue choice: other protocols over IP have no ports") {
  for (const bool ipv6 : {false, true}) {
    FlowHashing h;
    Packet packet = make_packet({.ipv6 = ipv6});
    packet.bytes[packet.l3 + (ipv6 ? 6 : 9)] = 47;  // GRE
    CHECK_FALSE(h.matters(packet.bytes, packet.l4));
    CHECK(h.matters(packet.bytes, packet.l4 - 1));
  }
}

TEST_CASE("queue choice: what is not IP is told apart by both addresses") {
  FlowHashing h;
  const Bytes frame = plain_frame(60);
  for (const size_t at : {0u, 5u, 6u, 11u}) CHECK(h.matters(frame, at));
  for (const size_t at : {14u, 30u, 59u}) CHECK_FALSE(h.matters(frame, at));
}

TEST_CASE("queue choice: headers that are cut off, or go on in another buffer, are not read") {
  for (const bool ipv6 : {false, true}) {
    FlowHashing h;
    const Packet packet = make_packet({.ipv6 = ipv6, .udp = true});
    const uint32_t whole = h.hash(packet.bytes);
    for (uint32_t bytes = 14; bytes < packet.l4 + 8; ++bytes) {
      const Bytes cut(packet.bytes.begin(), packet.bytes.begin() + bytes);
      CHECK((h.hash(cut) == whole) == (bytes >= packet.l4 + 4));
      CHECK(h.hash(cut) == h.hash(packet.bytes, bytes));  // the rest lies in the next buffer
    }
    // Without ports a fragment and a frame cut short are alike.
    const Bytes no_ports(packet.bytes.begin(), packet.bytes.begin() + packet.l4);
    CHECK(h.hash(no_ports) != 0);
  }
}

TEST_CASE("queue choice: many flows are spread over all queues, a flow stays with one") {
  for (const uint32_t count : {2u, 3u, 8u}) {
    Bench bench;
    std::vector<std::unique_ptr<TestGuest>> guests;
    std::vector<GuestQueue*> queues;
    for (uint32_t i = 0; i < count; ++i) {
      guests.push_back(std::make_unique<TestGuest>(0, static_cast<uint16_t>(7 + i)));
      queues.push_back(guests.back()->queue.get());
    }
    make_siblings(queues);
    std::map<const GuestQueue*, int> frames;
    Packet packet = make_packet({.udp = true});
    for (int flow = 0; flow < 1000; ++flow) {
      packet.bytes[packet.l4] = static_cast<uint8_t>(flow >> 8);
      packet.bytes[packet.l4 + 1] = static_cast<uint8_t>(flow);
      rte_mbuf* frame = make_mbuf(*bench.pool, packet.bytes);
      const GuestQueue& chosen = choose_queue(*queues[0], frame);
      CHECK(&choose_queue(*queues[0], frame) == &chosen);
      ++frames[&chosen];
      rte_pktmbuf_free(frame);
    }
    REQUIRE(frames.size() == count);
    for (const auto& [queue, number] : frames) CHECK(number > 700 / int(count));
  }
}

TEST_CASE("queue choice: for the only queue of a vif no frame is looked at") {
  TestGuest guest(0);
  CHECK(&choose_queue(*guest.queue, nullptr) == guest.queue.get());
  const std::vector<GuestQueue*> queues{guest.queue.get()};
  make_siblings(queues);
  CHECK(&choose_queue(*guest.queue, nullptr) == guest.queue.get());
}
