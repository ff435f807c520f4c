// Every lie that quarantines, told by one vif of two: what it did before stands, its rings are left
// alone from then on, and the other notices nothing. protocol 3.1, 3.3.
#include "tests/unit/support/two_vifs.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Lie {
  const char* name;
  Violation violation;
  void (*tell)(TestGuest&);
  bool about_producer = false;  // nothing of this turn is read
  bool about_to_guest = false;
};

void put_extra_lie(TestGuest& guest, uint8_t type) {
  guest.put_slot(900, 60, NETTXF_extra_info);
  guest.put_extra(type);
}
void put_gso_lie(TestGuest& guest, uint16_t size, uint8_t type) {
  guest.put_slot(900, 60, NETTXF_extra_info);
  guest.put_gso(size, type);
}
void put_long_chain(TestGuest& guest, uint32_t further) {
  for (uint32_t i = 0; i <= further; ++i)
    guest.put_slot(static_cast<uint16_t>(900 + i), i == 0 ? 200 : 1,
                   i < further ? NETTXF_more_data : 0);
}

const Lie lies[] = {
    {"H01 one request more than the ring holds", Violation::impossible_producer,
     [](TestGuest& g) { g.from_guest.req_prod() = g.from_guest.rsp_prod() + 257; }, true},
    {"H02 the producer runs backwards", Violation::impossible_producer,
     [](TestGuest& g) { g.from_guest.req_prod() = g.from_guest.rsp_prod() - 1; }, true},
    {"H01 the producer is far away", Violation::impossible_producer,
     [](TestGuest& g) { g.from_guest.req_prod() = g.from_guest.rsp_prod() + 0x80000000; }, true},
    {"H01 more buffers than the ring holds", Violation::impossible_producer,
     [](TestGuest& g) { g.to_guest.req_prod() = g.to_guest.rsp_prod() + 257; }, false, true},
    {"H02 posted buffers run backwards", Violation::impossible_producer,
     [](TestGuest& g) { g.to_guest.req_prod() = g.to_guest.rsp_prod() - 1; }, false, true},
    {"H05 extra info behind the last request", Violation::missing_extra_info,
     [](TestGuest& g) { g.put_slot(900, 60, NETTXF_extra_info); }},
    {"H06 extra type 0", Violation::bad_extra_type, [](TestGuest& g) { put_extra_lie(g, 0); }},
    {"H06 extra type 5", Violation::bad_extra_type, [](TestGuest& g) { put_extra_lie(g, 5); }},
    {"H06 extra type 6", Violation::bad_extra_type, [](TestGuest& g) { put_extra_lie(g, 6); }},
    {"H06 extra type 255", Violation::bad_extra_type, [](TestGuest& g) { put_extra_lie(g, 255); }},
    {"H06 extra info without end", Violation::too_many_extras,
     [](TestGuest& g) {
       g.put_slot(900, 60, NETTXF_extra_info);
       for (int i = 0; i < 200; ++i)
         g.put_extra(XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_EXTRA_FLAG_MORE);
     }},
    {"H07 GSO of size 0", Violation::bad_gso, [](TestGuest& g) { put_gso_lie(g, 0, 1); }},
    {"H07 GSO of type 0", Violation::bad_gso, [](TestGuest& g) { put_gso_lie(g, 100, 0); }},
    {"H07 GSO of type 3", Violation::bad_gso, [](TestGuest& g) { put_gso_lie(g, 100, 3); }},
    {"H08 a frame that goes on behind the last request", Violation::unfinished_frame,
     [](TestGuest& g) { g.put_slot(900, 100, NETTXF_more_data); }},
    {"H09 22 slots", Violation::too_many_slots, [](TestGuest& g) { put_long_chain(g, 21); }},
    {"H09 200 slots", Violation::too_many_slots, [](TestGuest& g) { put_long_chain(g, 199); }},
    {"H11 a first slot beyond its page", Violation::crosses_page,
     [](TestGuest& g) { g.put_slot(900, 60, 0, 4037); }},
    {"H11 the largest size", Violation::crosses_page,
     [](TestGuest& g) { g.put_slot(900, 0xffff); }},
    {"H11 the largest offset", Violation::crosses_page,
     [](TestGuest& g) { g.put_slot(900, 60, 0, 0xffff); }},
    {"H11 a later slot beyond its page", Violation::crosses_page,
     [](TestGuest& g) {
       g.put_slot(900, 60, NETTXF_more_data);
       g.put_slot(901, 2, 0, 4095);
     }},
};

void tell(const Lie& lie, bool liar_first, uint32_t start) {
  TwoVifs host(liar_first, start);
  Frames of_liar = host.put_frames(host.liar, 0, 3);
  host.turn(2);
  CHECK(host.ports[0]->sent_bytes() == of_liar);

  of_liar = host.put_frames(host.liar, 3, 2);
  if (lie.about_producer) of_liar.clear();
  const Bytes between = host.frame(host.liar.settings.mac, host.honest);
  const Frames of_honest = host.put_frames(host.honest, 0, 3);
  if (lie.about_to_guest) {  // what waits for the liar makes us look at its other ring
    host.honest.put_frame(between, 3);
    host.honest.from_guest.push();
  }
  const uint32_t produced_before = host.liar.from_guest.req_prod();
  lie.tell(host.liar);
  if (!lie.about_producer) host.liar.from_guest.push();
  host.turn();  // one turn: the lie and the other's frames together

  const Frames sent = host.ports[0]->sent_bytes();
  CHECK(TwoVifs::of(host.honest, sent) == of_honest);
  CHECK(TwoVifs::of(host.liar, sent) == of_liar);
  host.turn();
  check_all_okay(host.honest.answers(), lie.about_to_guest ? 4 : 3);
  check_all_okay(host.liar.answers(), lie.about_producer ? 3 : 5);
  host.read_reports();
  REQUIRE(host.quarantines.size() == 1);
  CHECK(host.quarantines[0].queue == host.liar.queue.get());
  CHECK(host.quarantines[0].violation == lie.violation);
  CHECK(host.quarantines[0].slot == (lie.about_to_guest   ? host.liar.start
                                     : lie.about_producer ? host.liar.start + 3
                                                          : produced_before));
  CHECK(host.liar.queue->quarantined);
  CHECK(host.liar.queue->backlog.count() == 0);
}

}  // namespace

TEST_CASE("hostile: a lie quarantines the liar and nobody else") {
  for (const Lie& lie : lies) {
    for (const bool liar_first : {true, false}) {
      for (const uint32_t start : {0u, UINT32_MAX - 3}) {
        INFO(lie.name << ", liar first " << liar_first << ", start " << start);
        tell(lie, liar_first, start);
      }
    }
  }
}

TEST_CASE("hostile: the rings of a quarantined vif are never touched again") {
  for (const Lie& lie : lies) {
    INFO(lie.name);
    TwoVifs host(true, 0);
    lie.tell(host.liar);
    if (!lie.about_producer) host.liar.from_guest.push();
    host.ports[0]->feed(make_frame(host.liar.settings.mac, elsewhere, 60));
    host.turn(2);
    REQUIRE(host.liar.queue->quarantined);
    host.liar.from_guest.req_prod() = host.liar.from_guest.rsp_prod() + 5;
    host.liar.to_guest.req_prod() = host.liar.to_guest.rsp_prod() + 5;
    const Bytes from = host.liar.ring_bytes(), to = host.liar.to_guest_ring_bytes();
    const uint64_t waited = host.liar.count(QueueCounter::to_guest_drop_detached_frames);
    const auto notifications = FakeXen::instance().notifications;
    host.ports[0]->feed(make_frame(host.liar.settings.mac, elsewhere, 60));
    host.ports[0]->feed(make_frame(broadcast, elsewhere, 60));
    host.turn(5);
    const uint32_t sequence = host.post(DetachQueue{host.liar.queue.get(), true});
    host.turn(2);
    CHECK(host.acked(sequence));
    CHECK(host.liar.ring_bytes() == from);
    CHECK(host.liar.to_guest_ring_bytes() == to);
    CHECK(host.quarantines.size() == 1);
    CHECK(host.liar.count(QueueCounter::to_guest_drop_detached_frames) == waited + 2);
    CHECK(FakeXen::instance().notifications[host.liar.queue->from_guest_port] ==
          notifications.find(host.liar.queue->from_guest_port)->second);
    CHECK(host.delivered(host.honest).size() == 1);
  }
}

TEST_CASE("hostile: a vif that lies on both rings is reported once") {
  TwoVifs host(true, 0);
  host.liar.from_guest.req_prod() = 300;
  host.liar.to_guest.req_prod() = 300;
  host.ports[0]->feed(make_frame(host.liar.settings.mac, elsewhere, 60));
  host.turn(3);
  host.read_reports();
  CHECK(host.quarantines.size() == 1);
}

TEST_CASE("hostile: a guest that posts nothing costs the others nothing") {  // H26, XSA-392
  TwoVifs host(true, 0);
  TestGuest& dead = host.add_guest();
  uint32_t arrived = 0;
  for (int i = 0; i < 200; ++i) {
    host.ports[0]->feed(make_frame(broadcast, elsewhere, 60));
    host.turn();
    host.honest.post_buffers(1);
    host.liar.post_buffers(1);
    arrived += uint32_t(host.honest.deliveries().size());
  }
  CHECK(arrived >= 199);
  CHECK(dead.queue->backlog.count() + dead.count(QueueCounter::to_guest_drop_backlog_full_frames) ==
        200);
}

TEST_CASE("hostile_h36_a_flood_to_all_with_others_addresses_is_dropped_and_counted_if_locked") {
  for (const bool locked : {false, true}) {
    TwoVifs host(true, UINT32_MAX - 3);
    host.liar.settings.lock_mac = locked;
    constexpr uint16_t count = 60;
    for (uint16_t i = 0; i < count; ++i) {  // the other's address among them
      const rte_ether_addr source =
          i == 0 ? host.honest.settings.mac : rte_ether_addr{{2, 0, 0, 9, 8, uint8_t(i)}};
      host.liar.put_frame(make_frame(i % 2 == 0 ? broadcast : host.honest.settings.mac, source, 60),
                          i);
    }
    host.liar.put_frame(host.frame(elsewhere, host.liar), count);
    host.liar.from_guest.push();
    host.turn(2);
    const auto answers = host.liar.answers();
    REQUIRE(answers.size() == count + 1u);
    for (uint16_t i = 0; i <= count; ++i) {
      CHECK(answers[i].id == i);
      CHECK(answers[i].status == (locked && i < count ? NETIF_RSP_ERROR : NETIF_RSP_OKAY));
    }
    CHECK(host.liar.count(QueueCounter::from_guest_drop_source_address_frames) ==
          (locked ? count : 0));
    CHECK(host.ports[0]->sent_bytes().size() == 1u + (locked ? 0 : count / 2));
    CHECK(host.delivered(host.honest).empty() == locked);
    host.read_reports();
    CHECK(host.quarantines.empty());
  }
}
