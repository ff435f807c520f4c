// Control and worker on two threads, for the thread sanitizer: queues, settings and tables change
// hands under traffic, and control reads what it may read meanwhile.
#include <catch2/catch.hpp>

#include <thread>
#include <vector>

#include "dataplane/worker.hpp"
#include "tests/unit/support/handover.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr int handover_rounds = 100;
constexpr uint16_t frames_per_round = 20;
constexpr uint32_t staged_rounds = 200;  // a frame each, of a page of its own

// A worker on its own thread, with a port. end() before what it was lent goes.
struct RunningWorker {
  std::unique_ptr<FramePool> pool = make_pool();
  std::unique_ptr<Grants> grants = Grants::open().value();
  std::unique_ptr<EventChannels> events = EventChannels::open().value();
  Mailbox mailbox;
  Worker worker{{.spin_us = 20}, mailbox, *grants, *events, *pool};
  Control control{mailbox};
  PortQueue port{.port = 0};
  std::thread thread;

  RunningWorker() {
    FakeXen::instance().reset();
    thread = std::thread([this] { worker.run(); });
    control.post_and_wait(AttachPort{&port});
  }
  void end() {
    control.post_and_wait(DetachPort{&port});
    control.post_and_wait(Stop{});
    thread.join();
    CHECK(pool->free_buffers() == pool->buffers());
  }
};

// A table of pages that are in a row, by the references from `first` on.
std::unique_ptr<StagingTable> staging_of(TestGuest& guest, uint32_t first, uint32_t count) {
  std::vector<StagingTable::Page> pages;
  for (uint32_t reference = first; reference < first + count; ++reference)
    pages.push_back({.bytes = FakeXen::instance().grants.at({guest.domain, reference}).page,
                     .reference = reference,
                     .writable = true});
  return std::make_unique<StagingTable>(pages);
}

}  // namespace

TEST_CASE("handover: queues, tables and settings change hands under traffic") {
  RunningWorker running;
  Control& control = running.control;
  PortQueue& port = running.port;
  auto table = table_of(port, {});
  control.post_and_wait(UseTable{table.get()});

  for (int round = 0; round < handover_rounds; ++round) {
    TestGuest sender(0, 7), receiver(1, 8);
    control.post_and_wait(AttachQueue{sender.queue.get()});
    control.post_and_wait(AttachQueue{receiver.queue.get()});
    auto with_guests = table_of(port, {&sender, &receiver});
    control.post_and_wait(UseTable{with_guests.get()});
    table = std::move(with_guests);

    receiver.post_buffers(frames_per_round);
    for (uint16_t id = 0; id < frames_per_round; ++id)
      sender.put_frame(make_frame(receiver.settings.mac, sender.settings.mac, 60), id);
    if (sender.from_guest.push()) FakeXen::instance().kick(sender.queue->from_guest_port);
    // Control reads counters while the worker writes them.
    REQUIRE(
        soon([&] { return receiver.count(QueueCounter::to_guest_frames) == frames_per_round; }));
    VifSettings other = sender.settings;
    other.lock_mac = true;
    control.post_and_wait(UseSettings{sender.queue.get(), &other});

    auto without = table_of(port, {});
    control.post_and_wait(UseTable{without.get()});
    table = std::move(without);
    control.post_and_wait(DetachQueue{sender.queue.get(), round % 2 == 0});
    control.post_and_wait(DetachQueue{receiver.queue.get(), round % 2 == 1});
    CHECK(sender.answers().size() == frames_per_round);
    CHECK(receiver.deliveries().size() == frames_per_round);
    CHECK(running.worker.counters().read(WorkerCounter::worker_turns) > 0);
  }
  running.end();
}

// The one before is freed as soon as the worker acks the next, frames under way or not.
TEST_CASE("handover: tables of mapped pages change hands under traffic") {
  RunningWorker running;
  Control& control = running.control;
  PortQueue& port = running.port;
  TestGuest sender(0, 7), receiver(1, 8);
  for (TestGuest* guest : {&sender, &receiver})
    control.post_and_wait(AttachQueue{guest->queue.get()});
  const auto table = table_of(port, {&sender, &receiver});
  control.post_and_wait(UseTable{table.get()});

  // All pages are there before the worker looks for one.
  receiver.post_buffers(staged_rounds);
  std::vector<uint32_t> references;
  for (uint32_t round = 0; round < staged_rounds; ++round)
    references.push_back(
        sender.data_page(make_frame(receiver.settings.mac, sender.settings.mac, 60)));
  std::unique_ptr<StagingTable> sent, received;
  for (uint32_t round = 0; round < staged_rounds; ++round) {
    const uint32_t count = round % 3 == 2 ? 0 : staged_rounds;  // now and then none
    auto next_sent = staging_of(sender, references[0], count);
    auto next_received = staging_of(receiver, TestGuest::first_buffer_reference, count);
    control.post_and_wait(UseStaging{sender.queue.get(), next_sent.get()});
    sent = std::move(next_sent);
    control.post_and_wait(UseStaging{receiver.queue.get(), next_received.get()});
    received = std::move(next_received);
    sender.put_slot(static_cast<uint16_t>(round), 60, 0, 0, references[round]);
    if (sender.from_guest.push()) FakeXen::instance().kick(sender.queue->from_guest_port);
  }
  REQUIRE(soon([&] { return receiver.count(QueueCounter::to_guest_frames) == staged_rounds; }));
  for (TestGuest* guest : {&sender, &receiver})
    control.post_and_wait(UseStaging{guest->queue.get(), nullptr});
  sent.reset(), received.reset();
  CHECK(sender.count(QueueCounter::from_guest_staged_copies) > 0);
  CHECK(receiver.count(QueueCounter::to_guest_staged_copies) > 0);

  const auto without = table_of(port, {});
  control.post_and_wait(UseTable{without.get()});
  for (TestGuest* guest : {&sender, &receiver})
    control.post_and_wait(DetachQueue{guest->queue.get(), false});
  CHECK(sender.answers().size() == staged_rounds);
  CHECK(receiver.deliveries().size() == staged_rounds);
  running.end();
}
