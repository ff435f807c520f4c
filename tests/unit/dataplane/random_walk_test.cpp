// Thousands of turns of anything, from a fixed seed: no buffer lost, no frame uncounted, no slot
// answered twice or forgotten.
#include <random>
#include <string>

#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A guest of the walk: what it has outstanding on its rings, by id, oldest first.
struct Walker {
  TestGuest& guest;
  std::vector<uint16_t> sent{}, posted{};
  uint16_t next_id = 1;
  uint64_t answered = 0, delivered_slots = 0;
  bool extra_comes = false;  // the next to_guest slot is extra info
};

class Walk : public TestHost {
 public:
  explicit Walk(uint32_t seed) : TestHost({.port_takes = 63, .large_buffers = 256}), random_(seed) {
    for (int i = 0; i < 2; ++i) {
      TestGuest& guest = add_guest(0, i == 0);
      guest.settings.frame_bytes_max = 6000;
      guest.settings.gso_tcpv4_offered = guest.settings.gso_tcpv6_offered = true;
      guest.settings.takes_gso_tcpv4 = i == 0;
      guest.settings.takes_gso_tcpv6 = i == 1;
      walkers.push_back({guest});
    }
    ports[0]->queue.can.frame_bytes_max = 6000;
    ports[0]->queue.can.segments = seed == 2;
  }

  void step() {
    FakeXen::instance().failing_operations.clear();
    if (below(20) == 0) FakeXen::instance().failing_operations = {uint32_t(below(60))};
    FakeXen::instance().copy_operations = 0;
    FakeXen::instance().failing_domain = below(30) == 0 ? 7 + int(below(2)) : -1;
    for (Walker& walker : walkers) act(walker);
    for (uint64_t i = below(6); i > 0 && pool->free_buffers() > 10; --i)
      ports[0]->feed(random_frame());
    if (below(10) == 0) leave_buffers(uint32_t(below(40)));
    turn();
    if (below(3) == 0) give_buffers_back();
    if (below(4) != 0) ports[0]->sent_bytes();
    for (Walker& walker : walkers) check_answers(walker);
  }

  std::vector<Walker> walkers;

 private:
  uint64_t below(uint64_t bound) { return random_() % bound; }

  rte_ether_addr random_target() {
    const rte_ether_addr targets[] = {walkers[0].guest.settings.mac, walkers[1].guest.settings.mac,
                                      broadcast, multicast, elsewhere};
    return targets[below(5)];
  }
  Bytes random_frame() {
    return make_frame(random_target(), elsewhere, 14 + below(below(4) == 0 ? 5000 : 100));
  }
  Bytes random_packet() {
    Packet packet = make_packet({.ipv6 = below(2) == 0,
                                 .udp = below(2) == 0,
                                 .tagged = below(2) == 0,
                                 .payload = below(1200),
                                 .padding = below(5)});
    const rte_ether_addr to = random_target();
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    if (below(10) == 0) packet.bytes.resize(20 + below(40));
    return packet.bytes;
  }

  void act(Walker& walker) {
    for (uint64_t frames = below(12); frames > 0; --frames)
      if (walker.guest.from_guest.free_slots() > 40) put_something(walker);
    walker.guest.from_guest.push();
    const auto room = walker.guest.to_guest.free_slots();
    for (uint64_t i = std::min<uint64_t>(below(20), room); i > 0; --i) {
      walker.posted.push_back(walker.next_id);
      const uint32_t reference =
          below(15) == 0 ? uint32_t(below(9)) : TestGuest::first_data_reference;
      walker.guest.to_guest.put({.id = walker.next_id++, .pad = 0, .gref = reference});
    }
    walker.guest.to_guest.push();
  }

  void put_something(Walker& walker) {
    const uint32_t before = walker.guest.from_guest.produced();
    const uint16_t id = walker.next_id;
    switch (below(7)) {
      case 6:
        put_segmented(walker);
        break;
      case 0:
        put_bytes(walker, random_packet(), NETTXF_csum_blank | NETTXF_data_validated);
        break;
      case 1:  // sizes that do not add up, references of nothing
        walker.guest.put_slot(id, uint16_t(below(70)), NETTXF_more_data, 0, uint32_t(below(12)));
        walker.guest.put_slot(uint16_t(id + 1), uint16_t(below(70)));
        break;
      case 2: {  // many slots
        const uint64_t further = 1 + below(20);
        for (uint64_t i = 0; i <= further; ++i)
          walker.guest.put_slot(uint16_t(id + i), i == 0 ? 100 : 2,
                                i < further ? NETTXF_more_data : 0);
        break;
      }
      case 3:
        walker.guest.put_slot(id, 60, NETTXF_extra_info);
        if (below(2) == 0)
          walker.guest.put_gso(100);
        else
          walker.guest.put_extra(uint8_t(XEN_NETIF_EXTRA_TYPE_MCAST_ADD + below(3)));
        break;
      default:
        put_bytes(walker, random_frame(), 0);
    }
    note_sent(walker, before, id);
  }

  // A packet to be segmented, mostly honest.
  void put_segmented(Walker& walker) {
    Packet packet = make_packet({.ipv6 = below(2) == 0,
                                 .udp = below(20) == 0,
                                 .tagged = below(2) == 0,
                                 .payload = below(30'000)});
    const rte_ether_addr to = random_target();
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    const bool ipv4 = packet.ipv6 == (below(20) == 0);
    put_bytes(walker, packet.bytes, NETTXF_csum_blank | NETTXF_extra_info,
              uint16_t(1 + below(below(3) == 0 ? 50 : 3000)),
              ipv4 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6);
  }

  // In one or several slots, all by the common page: what the bytes are does not matter here.
  void put_bytes(Walker& walker, const Bytes& bytes, uint16_t flags, uint16_t segment_bytes = 0,
                 uint8_t gso_type = 0) {
    std::vector<Bytes> pieces;
    for (size_t at = 0; at < bytes.size();) {
      const size_t least = segment_bytes == 0 ? 14 : 2000;
      const size_t here = std::min<size_t>(bytes.size() - at, least + below(1500));
      pieces.emplace_back(bytes.begin() + long(at), bytes.begin() + long(at + here));
      at += here;
    }
    uint16_t id = walker.next_id;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const size_t size = i == 0 ? bytes.size() : pieces[i].size();
      walker.guest.from_guest.put(
          {.gref = page_of(walker, pieces[i]),
           .offset = 0,
           .flags = uint16_t((i == 0 ? flags : 0) | (i + 1 < pieces.size() ? NETTXF_more_data : 0)),
           .id = id++,
           .size = uint16_t(size)});
      if (i > 0 || segment_bytes == 0) continue;
      walker.guest.put_gso(segment_bytes, gso_type);
      ++id;
    }
  }

  // A page that is used again, long after.
  uint32_t page_of(Walker& walker, const Bytes& bytes) {
    auto& pages = pages_[&walker.guest];
    if (pages.size() < 600) {
      pages.push_back(walker.guest.data_page(bytes));
      return pages.back();
    }
    const uint32_t reference = pages[next_page_++ % pages.size()];
    auto* page = FakeXen::instance().grants.at({walker.guest.domain, reference}).page;
    std::memcpy(page, bytes.data(), bytes.size());
    return reference;
  }

  static void note_sent(Walker& walker, uint32_t before, uint16_t id) {
    for (uint32_t at = before; at != walker.guest.from_guest.produced(); ++at)
      walker.sent.push_back(id++);
    walker.next_id = id;
  }

  // Answers come in order, each for the oldest slot that has none: extra info has the id 0.
  void check_answers(Walker& walker) {
    for (const auto& answer : walker.guest.answers()) {
      REQUIRE(walker.answered < walker.sent.size());
      const uint16_t expected = walker.sent[walker.answered++];
      if (answer.status == NETIF_RSP_NULL)
        REQUIRE(answer.id == 0);
      else
        REQUIRE(answer.id == expected);
    }
    for (const auto& answer : walker.guest.deliveries()) {
      REQUIRE(walker.delivered_slots < walker.posted.size());
      const uint16_t expected = walker.posted[walker.delivered_slots++];
      REQUIRE((walker.extra_comes || answer.id == expected));
      walker.extra_comes = !walker.extra_comes && answer.flags & NETRXF_extra_info;
    }
  }

  std::mt19937 random_;
  std::map<TestGuest*, std::vector<uint32_t>> pages_;
  uint32_t next_page_ = 0;
};

// All counters of a vif that begin so, summed.
uint64_t sum_of(const TestGuest& guest, std::string_view prefix) {
  uint64_t sum = 0;
  for (size_t i = 0; i < queue_counter_info.size(); ++i)
    if (queue_counter_info[i].name.starts_with(prefix))
      sum += guest.count(static_cast<QueueCounter>(i));
  return sum;
}

}  // namespace

TEST_CASE("random walk: every slot answered once and in order, every buffer back") {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    Walk walk(seed);
    for (int i = 0; i < 3000; ++i) walk.step();
    FakeXen::instance().failing_operations.clear();
    FakeXen::instance().failing_domain = -1;
    walk.give_buffers_back();
    walk.ports[0]->sent_bytes();
    for (int i = 0; i < 50; ++i) {
      walk.turn();
      walk.ports[0]->sent_bytes();
    }
    for (Walker& walker : walk.walkers) {
      for (const auto& answer : walker.guest.answers()) {
        ++walker.answered;
        CHECK(answer.status <= NETIF_RSP_NULL);
      }
      CHECK(walker.answered == walker.sent.size());
      CHECK(walker.guest.count(QueueCounter::from_guest_slots) == walker.sent.size());
      CHECK(sum_of(walker.guest, "from_guest_drop") > 100);
      CHECK(walker.guest.count(QueueCounter::to_guest_frames) > 100);
      CHECK(walker.guest.count(QueueCounter::from_guest_gso_frames) > 100);
      CHECK(walker.guest.count(QueueCounter::to_guest_gso_frames) > 10);
      CHECK(walker.guest.count(QueueCounter::to_guest_cut_frames) > 10);
    }
    CHECK(walk.ports[0]->count(PortCounter::port_cut_frames) > 50);
    CHECK((walk.ports[0]->count(PortCounter::port_gso_frames) > 0) == (seed == 2));
    walk.read_reports();
    CHECK(walk.quarantines.empty());
  }
}

// With unicast only, what came in is what went out or was dropped: design 11.
TEST_CASE("random walk: in is out and dropped") {
  TestHost host({.port_takes = 31});
  std::mt19937 random(9);
  TestGuest& a = host.add_guest();
  TestGuest& b = host.add_guest();
  uint64_t fed = 0, put = 0;
  for (int i = 0; i < 2000; ++i) {
    for (TestGuest* guest : {&a, &b}) {
      for (uint32_t n = random() % 5; n > 0 && guest->from_guest.free_slots() > 4; --n, ++put) {
        TestGuest& other = guest == &a ? b : a;
        const rte_ether_addr to[] = {elsewhere, other.settings.mac, guest->settings.mac};
        const Bytes frame = make_frame(to[random() % 3], guest->settings.mac, 60 + random() % 1600);
        guest->put_frame(frame, uint16_t(i), random() % 8 == 0 ? NETTXF_csum_blank : 0);
      }
      guest->from_guest.push();
      if (random() % 3 == 0 && guest->to_guest.free_slots() > 8) guest->post_buffers(random() % 4);
      const rte_ether_addr to[] = {elsewhere, guest->settings.mac};
      for (uint32_t n = random() % 3; n > 0; --n, ++fed)
        host.ports[0]->feed(make_frame(to[random() % 2], broadcast, 10 + random() % 100));
    }
    host.turn();
    if (random() % 10 == 0) host.ports[0]->sent_bytes();
    for (TestGuest* guest : {&a, &b}) {
      guest->answers();
      guest->deliveries();
    }
  }
  host.turn(50);
  const TestPort& port = *host.ports[0];
  uint64_t out = port.count(PortCounter::port_sent_frames) +
                 port.count(PortCounter::port_drop_short_frames) +
                 port.count(PortCounter::port_drop_no_destination_frames);
  for (TestGuest* guest : {&a, &b})
    out += guest->count(QueueCounter::to_guest_frames) + guest->queue->backlog.count() +
           sum_of(*guest, "from_guest_drop") + sum_of(*guest, "to_guest_drop");
  CHECK(port.count(PortCounter::port_received_frames) == fed);
  CHECK(put + fed == out);
}
