// Answers on the to_guest ring. protocol 1.12: 38 to 43.
#include "dataplane/to_guest/respond.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

std::vector<int> statuses(TestGuest& guest) {
  std::vector<int> all;
  for (const auto& answer : guest.deliveries()) all.push_back(answer.status);
  return all;
}

}  // namespace

TEST_CASE("respond: nothing delivered, nothing written") {  // FBT 38
  ToGuestStages s;
  s.guest.post_buffers(2);
  const Bytes before = s.guest.to_guest_ring_bytes();
  s.run();
  CHECK(s.guest.to_guest_ring_bytes() == before);
}

TEST_CASE("respond: a short frame is one answer in its request's slot") {  // FBT 39, 41
  ToGuestStages s;
  s.guest.settings.takes_blank_ipv6 = false;  // looks at no offsets
  s.guest.post_buffers(2, 77);
  s.queue_frame(plain_frame(60), 31);
  s.run();
  CHECK(s.guest.to_guest.slot(0).response.id == 77);
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 77);
  CHECK(answers[0].offset == 0);
  CHECK(answers[0].flags == 0);
  CHECK(answers[0].status == 60);
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_bytes) == 60);
  CHECK(s.guest.count(QueueCounter::to_guest_slots) == 1);
}

TEST_CASE("respond: checksum flags stand on the first slot alone") {  // FBT 40, seed S4
  const struct {
    uint64_t state;
    uint16_t flags;
  } cases[] = {{RTE_MBUF_F_RX_L4_CKSUM_GOOD, NETRXF_data_validated},
               {RTE_MBUF_F_RX_L4_CKSUM_BAD, 0},
               {RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN, 0}};
  for (const auto& c : cases) {
    ToGuestStages s;
    s.guest.post_buffers(2);
    s.queue_frame(plain_frame(5000))->ol_flags |= c.state;
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].flags == (c.flags | NETRXF_more_data));
    CHECK(answers[1].flags == 0);
  }
}

TEST_CASE("respond: each slot has its own byte count") {  // FBT 42
  ToGuestStages s;
  s.guest.post_buffers(4, 10);
  s.queue_frame(plain_frame(4096 + 100));
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].status == 4096);
  CHECK(answers[0].flags == NETRXF_more_data);
  CHECK(answers[1].status == 100);
  CHECK(answers[1].flags == 0);
  CHECK(answers[2].status == 60);
  for (uint16_t i = 0; i < 3; ++i) CHECK(answers[i].id == 10 + i);
}

TEST_CASE("respond: a failed copy is ERROR and the next request untouched") {  // FBT 43, row 28
  ToGuestStages s;
  s.guest.post_buffers(1, 5, true);  // read-only
  s.guest.post_buffers(1, 6);
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 5);
  CHECK(answers[0].status == NETIF_RSP_ERROR);
  CHECK(answers[0].flags == 0);
  CHECK(s.guest.to_guest.slot(1).request.id == 6);
  CHECK(s.guest.to_guest.slot(1).request.gref == TestGuest::first_buffer_reference + 1);
  CHECK(s.guest.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 0);
}

TEST_CASE("respond: a mapped buffer that we may only read is ERROR and keeps its bytes") {
  ToGuestStages s;
  s.guest.post_buffers(1, 5, true);
  s.guest.post_buffers(1, 6);
  s.guest.stage(TestGuest::first_buffer_reference, false);
  s.guest.stage(TestGuest::first_buffer_reference + 1, true);
  s.queue_frame(plain_frame(60));
  s.queue_frame(plain_frame(61));
  s.run();
  CHECK(statuses(s.guest) == std::vector<int>{NETIF_RSP_ERROR, 61});
  CHECK(Bytes(s.guest.buffer(0), s.guest.buffer(0) + 4096) == Bytes(4096, 0xee));
  CHECK(s.guest.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_staged_copies) == 1);
}

TEST_CASE("respond: a frame with one bad slot is ERROR on all of them, the next one arrives") {
  for (uint32_t bad = 0; bad < 3; ++bad) {  // H41
    ToGuestStages s;
    for (uint16_t i = 0; i < 3; ++i) s.guest.post_buffers(1, i, i == bad);
    s.guest.post_buffers(1, 3);
    s.queue_frame(plain_frame(9000));
    s.queue_frame(plain_frame(60));
    s.run();
    CHECK(statuses(s.guest) == std::vector<int>{-1, -1, -1, 60});
    CHECK(s.guest.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
  }
}

TEST_CASE("respond: a posted reference below 8 is ERROR on every slot, unseen by Xen") {
  for (const uint32_t reference : {0u, 7u}) {
    ToGuestStages s;
    s.guest.to_guest.put({.id = 1, .pad = 0, .gref = reference});
    s.guest.post_buffers(3, 2);
    s.queue_frame(plain_frame(60));
    s.queue_frame(plain_frame(4097));
    s.run();
    CHECK(statuses(s.guest) == std::vector<int>{NETIF_RSP_ERROR, 4096, 1});
    CHECK(s.guest.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
  }
  ToGuestStages s;  // in the second slot of a frame
  s.guest.post_buffers(1);
  s.guest.to_guest.put({.id = 1, .pad = 0, .gref = 7});
  s.guest.post_buffers(1, 2);
  s.queue_frame(plain_frame(4097));
  s.queue_frame(plain_frame(60));
  s.run();
  CHECK(statuses(s.guest) == std::vector<int>{NETIF_RSP_ERROR, NETIF_RSP_ERROR, 60});
}

TEST_CASE("respond: one operation of 64 fails and drops its frame alone") {  // H17
  for (const uint32_t failing : {0u, 15u, 16u, 31u, 63u}) {
    ToGuestStages s;
    s.guest.post_buffers(64);
    for (int i = 0; i < 64; ++i) s.queue_frame(plain_frame(60));
    xen().failing_operations = {failing};
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == 64);
    for (uint32_t i = 0; i < 64; ++i) {
      CHECK(answers[i].id == i);
      CHECK(answers[i].status == (i == failing ? NETIF_RSP_ERROR : 60));
    }
  }
}

TEST_CASE("respond: a call that fails whole drops that vif's frames alone") {  // H18
  for (int failing = 7; failing <= 8; ++failing) {
    ToGuestStages s;
    TestGuest& second = s.add_guest();
    for (TestGuest* guest : {&s.guest, &second}) {
      guest->post_buffers(2);
      for (int i = 0; i < 2; ++i) s.queue_frame(plain_frame(60), *guest);
    }
    xen().failing_domain = failing;
    s.run();
    CHECK(statuses(s.guest) == std::vector<int>(2, failing == 7 ? NETIF_RSP_ERROR : 60));
    CHECK(statuses(second) == std::vector<int>(2, failing == 8 ? NETIF_RSP_ERROR : 60));
    CHECK(s.count(WorkerCounter::worker_to_guest_copy_calls) == 3);
    xen().failing_domain = -1;
  }
}

TEST_CASE("respond: bytes of the guest's page behind the frame stay the guest's") {  // H37
  ToGuestStages s;
  s.guest.post_buffers(1);
  s.queue_frame(plain_frame(61));
  s.run();
  CHECK(s.guest.buffer(0)[60] == plain_frame(61)[60]);
  for (uint32_t i = 61; i < 4096; ++i) REQUIRE(s.guest.buffer(0)[i] == 0xee);
}

TEST_CASE("respond: an id changed after the look is not what is answered") {  // H27
  ToGuestStages s;
  s.guest.post_buffers(1, 5);
  s.queue_frame(plain_frame(60));
  xen().during_copy = [&] { s.guest.to_guest.slot(0).request = {.id = 99, .pad = 0, .gref = 1}; };
  s.run();
  xen().during_copy = nullptr;
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 5);
  CHECK(answers[0].status == 60);
}

TEST_CASE("respond: one notification a queue and turn, and only when it was asked for") {
  ToGuestStages s;
  TestGuest& second = s.add_guest();
  second.to_guest.rsp_event() = 4;
  for (TestGuest* guest : {&s.guest, &second}) {
    guest->post_buffers(10);
    for (int i = 0; i < 3; ++i) s.queue_frame(plain_frame(60), *guest);
  }
  s.run();
  CHECK(xen().notifications[s.guest.queue->to_guest_port] == 1);
  CHECK(xen().notifications[second.queue->to_guest_port] == 0);
  CHECK(s.guest.count(QueueCounter::to_guest_notifications) == 1);
  CHECK(second.count(QueueCounter::to_guest_notifications) == 0);
  s.queue_frame(plain_frame(60), second);
  s.run();
  CHECK(xen().notifications[second.queue->to_guest_port] == 1);
  CHECK(second.count(QueueCounter::to_guest_notifications) == 1);
}
