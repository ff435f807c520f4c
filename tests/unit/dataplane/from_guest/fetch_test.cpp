// Buffers, the one grant-copy call, and what is done when either fails. protocol 1.12: 15 to 27.
#include "dataplane/from_guest/fetch.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("fetch: nothing to do makes no call") {  // FBT 15, 21
  OneGuest g;
  CHECK(g.fetch());
  CHECK(xen().copy_calls == 0);
  CHECK(g.count(WorkerCounter::worker_from_guest_copy_calls) == 0);
}

TEST_CASE("fetch: a short frame arrives in one buffer") {  // FBT 16, 22, 25
  OneGuest g;
  const Bytes frame = plain_frame(60);
  g.guest.from_guest.put(
      {.gref = g.guest.data_page(frame, 17), .offset = 17, .flags = 0, .id = 4, .size = 60});
  g.send();
  CHECK(xen().copy_operations == 1);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("fetch: buffers hold 2048 bytes each, the last one the rest") {  // FBT 18 to 20, 24, 27
  const struct {
    uint16_t bytes;
    uint16_t buffers;
  } cases[] = {{2047, 1}, {2048, 1}, {2049, 2}, {4096, 2}};
  for (const auto& c : cases) {
    OneGuest g;
    g.guest.settings.frame_bytes_max = 65535;
    const Bytes frame = plain_frame(c.bytes);
    g.guest.put_frame(frame, 1);
    g.guest.from_guest.push();
    g.inspect();
    REQUIRE(g.frames.count == 1);
    const rte_mbuf* mbuf = g.frames.mbufs[0];
    CHECK(rte_mbuf_check(mbuf, 1, nullptr) == 0);
    CHECK(mbuf->nb_segs == c.buffers);
    CHECK(mbuf->pkt_len == c.bytes);
    CHECK(mbuf->data_len == std::min<uint32_t>(c.bytes, 2048));
    CHECK(xen().copy_operations == c.buffers);
    CHECK(g.pool->free_buffers() == g.pool->buffers() - c.buffers);
    from_guest::respond(g.batch, g.holding, *g.events);
    CHECK(g.take_frames() == std::vector<Bytes>{frame});
  }
}

TEST_CASE("fetch: two slots are joined") {  // FBT 23, 26
  OneGuest g;
  g.guest.settings.frame_bytes_max = 65535;
  const Bytes frame = plain_frame(1900);
  g.guest.put_chain(frame, {1400, 500}, 1);
  g.guest.from_guest.push();
  g.inspect();
  REQUIRE(g.batch.copies.count() == 2);
  const auto segments = g.batch.copies.segments();
  CHECK(segments[0].len == 1400);
  CHECK(segments[1].len == 500);
  CHECK(static_cast<uint8_t*>(segments[1].dest.virt) ==
        static_cast<uint8_t*>(segments[0].dest.virt) + 1400);
  CHECK(segments[0].source.foreign.domid == 7);
  from_guest::respond(g.batch, g.holding, *g.events);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("fetch: the longest frame, cut at odd positions, arrives whole") {
  OneGuest g;
  g.guest.settings.frame_bytes_max = 65535;
  const Bytes frame = plain_frame(65535);
  std::vector<uint16_t> sizes(15, 4095);
  sizes.push_back(4055);
  sizes.push_back(55);
  g.guest.put_chain(frame, sizes, 1);
  g.send();
  CHECK(g.statuses() == std::vector<int>(17, NETIF_RSP_OKAY));
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("fetch: headers split one byte a slot lie together") {  // H15, XSA-423
  OneGuest g;
  const Bytes frame = plain_frame(64);
  std::vector<uint16_t> sizes{46};
  sizes.insert(sizes.end(), 18, 1);
  g.guest.put_chain(frame, sizes, 1);
  g.guest.from_guest.push();
  g.inspect();
  REQUIRE(g.frames.count == 1);
  CHECK(g.frames.mbufs[0]->nb_segs == 1);
  from_guest::respond(g.batch, g.holding, *g.events);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("fetch: 18 slots that hold less than 64 bytes together") {  // H14, XSA-432
  OneGuest g;
  const Bytes frame = plain_frame(40);
  std::vector<uint16_t> sizes{14, 10};
  sizes.insert(sizes.end(), 16, 1);
  g.guest.put_chain(frame, sizes, 1);
  g.send();
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
  CHECK(g.statuses() == std::vector<int>(18, NETIF_RSP_OKAY));
}

TEST_CASE("fetch: a tail of zero-length slots adds nothing") {  // H13, XSA-448
  OneGuest g;
  const Bytes frame = plain_frame(60);
  std::vector<uint16_t> sizes{60};
  sizes.insert(sizes.end(), 17, 0);
  g.guest.put_chain(frame, sizes, 1);
  g.send();
  CHECK(xen().copy_operations == 1);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
  CHECK(g.statuses() == std::vector<int>(18, NETIF_RSP_OKAY));
}

TEST_CASE("fetch: one operation of a batch of 64 fails and drops its frame alone") {  // H17
  for (const uint32_t failing : {0u, 15u, 16u, 31u, 63u}) {
    OneGuest g;
    for (uint16_t i = 0; i < 64; ++i) g.guest.put_frame(plain_frame(60, uint8_t(i)), i);
    xen().failing_operations = {failing};
    g.send();
    const auto statuses = g.statuses();
    REQUIRE(statuses.size() == 64);
    for (uint32_t i = 0; i < 64; ++i)
      CHECK(statuses[i] == (i == failing ? NETIF_RSP_ERROR : NETIF_RSP_OKAY));
    const auto frames = g.take_frames();
    REQUIRE(frames.size() == 63);
    CHECK(frames[failing == 63 ? 62 : failing] ==
          plain_frame(60, uint8_t(failing == 63 ? 62 : failing + 1)));
    CHECK(g.guest.count(QueueCounter::from_guest_drop_copy_failed_frames) == 1);
  }
}

TEST_CASE("fetch: a slot that cannot be copied drops its whole frame, every slot answered") {
  for (uint32_t failing = 0; failing < 3; ++failing) {  // H16, row 13
    OneGuest g;
    g.guest.put_chain(plain_frame(300), {100, 100, 100}, 1);
    g.guest.put_frame(plain_frame(60), 9);
    xen().failing_operations = {failing};
    g.send();
    CHECK(g.statuses() == std::vector<int>{-1, -1, -1, 0});
    CHECK(g.take_frames() == std::vector<Bytes>{plain_frame(60)});
  }
}

TEST_CASE("fetch: a reference that names nothing, or another domain's page, drops the frame") {
  OneGuest g;
  Page page;
  xen().grant(8, 3000, page.bytes);
  g.guest.put_slot(1, 60, 0, 0, 3000);
  g.guest.put_slot(2, 60, 0, 0, 999'999);
  g.guest.put_frame(plain_frame(60), 3);
  g.send();
  CHECK(g.statuses() == std::vector<int>{-1, -1, 0});
  CHECK(g.guest.count(QueueCounter::from_guest_drop_copy_failed_frames) == 2);
  CHECK(g.take_frames().size() == 1);
}

TEST_CASE("fetch: a call that fails whole drops that vif's frames alone") {  // H18
  for (int failing = 7; failing <= 8; ++failing) {
    FromGuestStages stages;
    TestGuest a(0, 7), b(1, 8);
    for (TestGuest* guest : {&a, &b}) {
      stages.queues.add(*guest->queue);
      guest->put_frame(plain_frame(60, uint8_t(guest->domain)), 1);
      guest->put_frame(plain_frame(61, uint8_t(guest->domain)), 2);
      guest->from_guest.push();
    }
    xen().failing_domain = failing;
    stages.settle();
    TestGuest& bad = failing == 7 ? a : b;
    TestGuest& other = failing == 7 ? b : a;
    for (const auto& answer : bad.answers()) CHECK(answer.status == NETIF_RSP_ERROR);
    for (const auto& answer : other.answers()) CHECK(answer.status == NETIF_RSP_OKAY);
    CHECK(bad.count(QueueCounter::from_guest_drop_copy_failed_frames) == 2);
    const auto domain = static_cast<uint8_t>(other.domain);
    CHECK(stages.take_frames() ==
          std::vector<Bytes>{plain_frame(60, domain), plain_frame(61, domain)});
    CHECK(stages.count(WorkerCounter::worker_from_guest_copy_calls) == 3);
  }
}

TEST_CASE("fetch: one call serves all queues and is counted at each") {
  FromGuestStages stages;
  TestGuest a(0, 7), b(1, 8), idle(2, 9);
  for (TestGuest* guest : {&a, &b, &idle}) stages.queues.add(*guest->queue);
  a.put_chain(plain_frame(100), {60, 40}, 1);
  a.from_guest.push();
  b.put_frame(plain_frame(60), 1);
  b.from_guest.push();
  stages.run();
  CHECK(xen().operations_per_call == std::vector<uint32_t>{3});
  for (TestGuest* guest : {&a, &b}) {
    CHECK(guest->count(QueueCounter::from_guest_copy_calls) == 1);
    CHECK(guest->count(QueueCounter::from_guest_copy_slots) == 3);
  }
  CHECK(idle.count(QueueCounter::from_guest_copy_calls) == 0);
  CHECK(stages.count(WorkerCounter::worker_from_guest_copy_slots) == 3);
}

TEST_CASE("fetch: without buffers frames stay in the ring and come later, in order") {  // H33
  OneGuest g;
  g.leave_buffers(4);
  for (uint16_t i = 0; i < 10; ++i) g.guest.put_frame(plain_frame(60 + i), i);
  g.guest.from_guest.push();
  std::vector<Bytes> arrived;
  for (int turn = 0; turn < 6; ++turn) {
    const bool enough = g.run();
    CHECK(enough == (turn >= 2));
    CHECK(g.frames.count <= 4);
    for (auto& frame : g.take_frames()) arrived.push_back(frame);
  }
  REQUIRE(arrived.size() == 10);
  for (uint16_t i = 0; i < 10; ++i) CHECK(arrived[i] == plain_frame(60 + i));
  CHECK(g.statuses() == std::vector<int>(10, NETIF_RSP_OKAY));
}

TEST_CASE("fetch: a frame without buffers stops those behind it, also those that need none") {
  OneGuest g;
  g.leave_buffers(1);
  g.guest.settings.frame_bytes_max = 4096;
  g.guest.put_frame(plain_frame(3000), 1);  // two buffers
  g.guest.put_slot(2, 5);                   // a drop
  g.guest.put_frame(plain_frame(60), 3);    // one buffer, which there is
  g.guest.from_guest.push();
  CHECK_FALSE(g.run());
  CHECK(g.guest.queue->from_guest.next_slot() == 0);
  CHECK(g.guest.answers().empty());
  CHECK(g.guest.count(QueueCounter::from_guest_drop_bad_size_frames) == 0);
}

TEST_CASE("fetch: a violation behind frames that wait is not reported before them") {
  OneGuest g;
  g.leave_buffers(2);
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.put_frame(plain_frame(61), 2);
  g.guest.put_frame(plain_frame(62), 3);
  g.guest.put_slot(4, 100, NETTXF_more_data);
  g.guest.from_guest.push();
  CHECK_FALSE(g.run());
  CHECK_FALSE(g.batch.runs[0].violation);
  CHECK(g.take_frames().size() == 2);
  CHECK(g.run());
  CHECK(g.batch.runs[0].violation == Violation::unfinished_frame);
  CHECK(g.batch.runs[0].violation_slot == 3);
  CHECK(g.take_frames() == std::vector<Bytes>{plain_frame(62)});
}

TEST_CASE("fetch: what is short for one queue is left of another") {
  FromGuestStages stages;
  stages.leave_buffers(3);
  TestGuest a(0, 7), b(1, 8);
  for (TestGuest* guest : {&a, &b}) {
    stages.queues.add(*guest->queue);
    guest->put_frame(plain_frame(60), 1);
    guest->put_frame(plain_frame(60), 2);
    guest->from_guest.push();
  }
  CHECK_FALSE(stages.run());
  CHECK(a.queue->from_guest.next_slot() == 2);
  CHECK(b.queue->from_guest.next_slot() == 1);
  CHECK(stages.take_frames().size() == 3);
}

TEST_CASE("fetch: what the guest changes after the look changes nothing") {  // H04, H27, XSA-155
  OneGuest g;
  const Bytes frame = plain_frame(60);
  g.guest.put_frame(frame, 21);
  xen().during_copy = [&] {
    g.guest.from_guest.slot(0).request = {
        .gref = 1, .offset = 4095, .flags = 0xffff, .id = 99, .size = 0xffff};
  };
  g.send();
  xen().during_copy = nullptr;
  const auto answers = g.guest.answers();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].id == 21);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("fetch: a frame of a page that is mapped arrives whole without a call") {
  OneGuest g;
  const Bytes frame = plain_frame(60);
  const uint32_t reference = g.guest.data_page(frame, 17);
  g.guest.stage(reference, false);  // as guests map what they send
  g.guest.from_guest.put({.gref = reference, .offset = 17, .flags = 0, .id = 4, .size = 60});
  g.send();
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
  CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY});
  CHECK(xen().copy_calls == 0);
  CHECK(g.guest.count(QueueCounter::from_guest_staged_copies) == 1);
  CHECK(g.guest.count(QueueCounter::from_guest_copy_calls) == 0);
  CHECK(g.guest.count(QueueCounter::from_guest_copy_slots) == 0);
  CHECK(g.count(WorkerCounter::worker_from_guest_copy_calls) == 0);
  CHECK(g.count(WorkerCounter::worker_from_guest_copy_slots) == 0);
}

TEST_CASE("fetch: a mapped page that fills two buffers is two copies, turn after turn") {
  OneGuest g;
  g.guest.settings.frame_bytes_max = 65535;
  const Bytes frame = plain_frame(3000);
  const uint32_t reference = g.guest.data_page(frame);
  g.guest.stage(reference, false);
  for (uint16_t turn = 1; turn <= 3; ++turn) {
    g.guest.put_slot(turn, 3000, 0, 0, reference);
    g.send();
    CHECK(g.take_frames() == std::vector<Bytes>{frame});
    CHECK(g.guest.count(QueueCounter::from_guest_staged_copies) == 2 * turn);
  }
  CHECK(xen().copy_calls == 0);
}

TEST_CASE("fetch: one frame of a mapped page and of another arrives whole") {
  for (const uint32_t staged : {0u, 1u}) {
    OneGuest g;
    const Bytes frame = plain_frame(300);
    g.guest.put_chain(frame, {100, 200}, 1);
    g.guest.stage(TestGuest::first_data_reference + 1 + staged, false);
    g.send();
    CHECK(g.take_frames() == std::vector<Bytes>{frame});
    CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_OKAY});
    CHECK(xen().operations_per_call == std::vector<uint32_t>{1});
    CHECK(g.guest.count(QueueCounter::from_guest_staged_copies) == 1);
    CHECK(g.guest.count(QueueCounter::from_guest_copy_calls) == 1);
    CHECK(g.guest.count(QueueCounter::from_guest_copy_slots) == 2);  // counted frame by frame
  }
}

TEST_CASE("fetch: copy calls are counted at the queues that they carried slots of") {
  for (const bool staged_first : {true, false}) {
    FromGuestStages stages;
    TestGuest staged(0, 7), copied(1, 8);
    stages.queues.add(staged_first ? *staged.queue : *copied.queue);
    stages.queues.add(staged_first ? *copied.queue : *staged.queue);
    for (TestGuest* guest : {&staged, &copied}) {
      guest->put_chain(plain_frame(100, uint8_t(guest->domain)), {60, 40}, 1);
      guest->put_frame(plain_frame(61, uint8_t(guest->domain)), 3);
      guest->from_guest.push();
    }
    for (uint32_t i = 1; i <= 3; ++i) staged.stage(TestGuest::first_data_reference + i, false);
    copied.stage(TestGuest::first_data_reference + 3, false);
    stages.run();
    auto frames = stages.take_frames();
    if (!staged_first) std::swap(frames[0], frames[2]), std::swap(frames[1], frames[3]);
    CHECK(frames == std::vector<Bytes>{plain_frame(100, 7), plain_frame(61, 7), plain_frame(100, 8),
                                       plain_frame(61, 8)});
    CHECK(xen().operations_per_call == std::vector<uint32_t>{2});
    CHECK(staged.count(QueueCounter::from_guest_staged_copies) == 3);
    CHECK(staged.count(QueueCounter::from_guest_copy_calls) == 0);
    CHECK(staged.count(QueueCounter::from_guest_copy_slots) == 0);
    CHECK(copied.count(QueueCounter::from_guest_staged_copies) == 1);
    CHECK(copied.count(QueueCounter::from_guest_copy_calls) == 1);
    CHECK(copied.count(QueueCounter::from_guest_copy_slots) == 2);
    CHECK(stages.count(WorkerCounter::worker_from_guest_copy_calls) == 1);
    CHECK(stages.count(WorkerCounter::worker_from_guest_copy_slots) == 2);
  }
}

TEST_CASE("fetch: a mapped page of one guest is no page of another with the same reference") {
  FromGuestStages stages;
  TestGuest a(0, 7), b(1, 8);
  for (TestGuest* guest : {&a, &b}) {
    stages.queues.add(*guest->queue);
    guest->put_frame(plain_frame(60, uint8_t(guest->domain)), 1);
    guest->from_guest.push();
  }
  a.stage(TestGuest::first_data_reference + 1);
  stages.run();
  CHECK(stages.take_frames() == std::vector<Bytes>{plain_frame(60, 7), plain_frame(60, 8)});
  CHECK(b.count(QueueCounter::from_guest_staged_copies) == 0);
}

TEST_CASE("fetch: a failed call drops no frame whose pages are all mapped") {
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.put_frame(plain_frame(61), 2);
  g.guest.stage(TestGuest::first_data_reference + 1, false);
  xen().failing_domain = 7;
  g.send();
  xen().failing_domain = -1;
  CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_ERROR});
  CHECK(g.take_frames() == std::vector<Bytes>{plain_frame(60)});
}

TEST_CASE("fetch: what the guest writes into a mapped page afterwards is in no frame of ours") {
  OneGuest g;
  const Bytes frame = plain_frame(60);
  g.guest.put_frame(frame, 1);
  g.guest.stage(TestGuest::first_data_reference + 1, false);
  g.guest.from_guest.push();
  REQUIRE(g.fetch());
  std::memset(g.guest.page(0), 0xdd, 4096);
  from_guest::inspect(g.batch, g.frames);
  from_guest::respond(g.batch, g.holding, *g.events);
  CHECK(g.take_frames() == std::vector<Bytes>{frame});
}
