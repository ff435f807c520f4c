// Answers on the from_guest ring: which, in which order, when they are seen and who is told.
// protocol 1.12: 8 to 14.
#include "dataplane/from_guest/respond.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

uint32_t notifications(const TestGuest& guest) {
  return FakeXen::instance().notifications[guest.queue->from_guest_port];
}

}  // namespace

TEST_CASE("respond: an empty ring is left untouched") {  // FBT 8
  OneGuest g;
  const Bytes before = g.guest.ring_bytes();
  g.settle();
  CHECK(g.guest.ring_bytes() == before);
}

TEST_CASE("respond: one request has one answer of its id") {  // FBT 9
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 0xabcd);
  g.send();
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 0xabcd);
  CHECK(answers[0].status == NETIF_RSP_OKAY);
  CHECK(g.guest.from_guest.rsp_prod() == 1);
  CHECK(g.guest.count(QueueCounter::from_guest_slots) == 1);
}

TEST_CASE("respond: extra info is answered NULL in its place") {  // FBT 10, 11
  OneGuest g;
  g.guest.put_slot(5, 150, NETTXF_extra_info | NETTXF_more_data);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_HASH);
  g.guest.put_slot(6, 50, NETTXF_more_data);
  g.guest.put_slot(7, 50);
  g.send();
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 4);
  CHECK(answers[0].id == 5);
  CHECK(answers[0].status == NETIF_RSP_OKAY);
  CHECK(answers[1].status == NETIF_RSP_NULL);
  CHECK(answers[2].id == 6);
  CHECK(answers[2].status == NETIF_RSP_OKAY);
  CHECK(answers[3].id == 7);
  CHECK(answers[3].status == NETIF_RSP_OKAY);
  CHECK(g.guest.count(QueueCounter::from_guest_slots) == 4);
  CHECK(g.guest.count(QueueCounter::from_guest_extra_slots) == 1);
}

// FBT 12 `invalid`: extra type 0xFF. FreeBSD answers ERROR, NULL; here it quarantines (H06), and a
// slot of a violation is not taken: it has no answer at all.
TEST_CASE("respond: the slots of a violation are not answered") {
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.put_slot(2, 60, NETTXF_extra_info);
  g.guest.put_extra(0xff);
  g.send();
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 1);
  CHECK(g.guest.queue->from_guest.next_slot() == 1);
}

TEST_CASE(
    "respond: a dropped frame is ERROR on every slot, NULL on its extra info") {  // FBT 12, 13
  OneGuest g;
  g.guest.put_slot(5, 100, NETTXF_extra_info | NETTXF_more_data);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_HASH);
  g.guest.put_slot(6, 200);
  g.send();
  CHECK(g.statuses() == std::vector<int>{NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_ERROR});
  CHECK(g.guest.count(QueueCounter::from_guest_drop_size_mismatch_frames) == 1);
}

TEST_CASE("respond: answers wrap with the ring") {  // FBT 14
  OneGuest g(UINT32_MAX - 1);
  for (uint16_t i = 0; i < 4; ++i) g.guest.put_frame(plain_frame(60), i);
  g.send();
  CHECK(g.guest.from_guest.rsp_prod() == 2);
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 4);
  for (uint16_t i = 0; i < 4; ++i) CHECK(answers[i].id == i);
}

TEST_CASE("respond: multicast requests of a guest that was not offered it: none is joined") {
  OneGuest g;
  g.guest.put_slot(1, 0, NETTXF_extra_info);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
  g.guest.put_slot(2, 0, NETTXF_extra_info);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
  g.send();
  CHECK(g.statuses() ==
        std::vector<int>{NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETIF_RSP_NULL});
  CHECK(g.guest.count(QueueCounter::from_guest_multicast_refused) == 1);
  CHECK(g.guest.count(QueueCounter::from_guest_multicast_answered) == 1);
}

TEST_CASE("respond: nothing of a response's padding or of an older answer leaks") {  // H37
  OneGuest g;
  g.guest.put_slot(0xaaaa, 60, NETTXF_extra_info);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_HASH);
  g.send();
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 2);
  CHECK(answers[1].id == 0);
  CHECK(answers[1].status == NETIF_RSP_NULL);
}

TEST_CASE("respond: answers are held while requests keep coming, and published when they stop") {
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.from_guest.push();
  g.run();
  CHECK(g.guest.answers().empty());
  CHECK(g.holding.size() == 1);
  g.guest.put_frame(plain_frame(60), 2);
  g.guest.from_guest.push();
  g.run();
  CHECK(g.guest.answers().empty());
  CHECK(g.holding.size() == 1);
  g.run();  // the first turn without new requests
  CHECK(g.guest.answers().size() == 2);
  CHECK(g.holding.empty());
}

TEST_CASE("respond: answers are held while requests gather, and published when they do not") {
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.from_guest.push();
  g.run();
  g.batch.clear();
  g.guest.queue->gathers_until = 1;
  from_guest::respond(g.batch, g.holding, *g.events);
  CHECK(g.guest.answers().empty());
  g.guest.queue->gathers_until = 0;
  from_guest::respond(g.batch, g.holding, *g.events);
  CHECK(g.guest.answers().size() == 1);
}

// TCP lets a guest have few of them unanswered, and the port may hold the worker up after this.
TEST_CASE("respond: answers to frames of four slots each are published at once, of fewer held") {
  for (const uint16_t slots : {4, 3}) {
    OneGuest g;
    for (uint16_t frame = 0; frame < 2; ++frame) {
      g.guest.put_slot(1, 50u * slots, NETTXF_more_data);
      for (uint16_t i = 1; i < slots; ++i)
        g.guest.put_slot(1, 50, i + 1 < slots ? NETTXF_more_data : 0);
    }
    g.guest.from_guest.push();
    g.run();
    CHECK(g.guest.answers().size() == (slots == 4 ? 8 : 0));
    CHECK(notifications(g.guest) == (slots == 4 ? 1 : 0));
    g.guest.put_frame(plain_frame(60), 1);  // a small one after them is held as ever
    g.guest.from_guest.push();
    g.run();
    CHECK(g.guest.answers().empty());
    g.run();
    CHECK(g.guest.answers().size() == (slots == 4 ? 1 : 7));
  }
}

TEST_CASE("respond: at 64 held answers they are published whatever comes") {
  OneGuest g;
  for (uint16_t i = 0; i < 63; ++i) g.guest.put_frame(plain_frame(60), i);
  g.guest.from_guest.push();
  g.run();
  CHECK(g.guest.answers().empty());
  g.guest.put_frame(plain_frame(60), 63);
  g.guest.from_guest.push();
  g.run();
  CHECK(g.guest.answers().size() == 64);
  CHECK(g.holding.empty());
}

TEST_CASE("respond: no notification before rsp_event is passed, exactly one when it is") {
  for (const uint32_t event : {1u, 5u, 10u, 11u}) {
    OneGuest g;
    g.guest.from_guest.rsp_event() = event;
    for (uint16_t i = 0; i < 10; ++i) g.guest.put_frame(plain_frame(60), i);
    g.send();
    CHECK(notifications(g.guest) == (event <= 10 ? 1 : 0));
    CHECK(g.guest.count(QueueCounter::from_guest_notifications) == (event <= 10 ? 1 : 0));
    g.settle();
    CHECK(notifications(g.guest) == (event <= 10 ? 1 : 0));
  }
}

TEST_CASE("respond: each queue that asked is told on its own port") {
  FromGuestStages stages;
  TestGuest a(0, 7), b(1, 8), quiet(2, 9);
  quiet.from_guest.rsp_event() = 100;
  for (TestGuest* guest : {&a, &b, &quiet}) {
    stages.queues.add(*guest->queue);
    guest->put_frame(plain_frame(60), 1);
    guest->from_guest.push();
  }
  stages.settle();
  CHECK(notifications(a) == 1);
  CHECK(notifications(b) == 1);
  CHECK(notifications(quiet) == 0);
  CHECK(FakeXen::instance().notifications.size() == 3);
}

TEST_CASE("respond: req_event stays where it is while we poll") {
  OneGuest g;
  for (uint16_t i = 0; i < 5; ++i) {
    g.guest.put_frame(plain_frame(60), i);
    g.send();
  }
  CHECK(g.guest.from_guest.req_event() == 1);
}
