// Two workers on two threads, for the thread sanitizer: frames cross, vifs come and go under them,
// and who sleeps is woken.
#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>

#include "dataplane/worker.hpp"
#include "tests/unit/support/handover.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Clock = std::chrono::steady_clock;

constexpr uint32_t vif_rounds = 40;
constexpr uint16_t frames_each_way = 20;
constexpr rte_ether_addr to_all{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// The port is the first worker's. end() before what they were lent goes.
struct TwoWorkers {
  // No buffer is used twice: the sanitizer does not see into DPDK's pool, which hands them on.
  std::unique_ptr<FramePool> pool = make_pool(4095);
  Mailbox mailboxes[2];
  std::unique_ptr<Grants> grants[2];
  std::unique_ptr<EventChannels> events[2];
  std::unique_ptr<Crossings> crossings;
  std::unique_ptr<Worker> workers[2];
  Control controls[2] = {Control(mailboxes[0]), Control(mailboxes[1])};
  PortQueue port{.port = 0};
  std::unique_ptr<ForwardTable> table;
  std::thread threads[2];

  TwoWorkers() {
    FakeXen::instance().reset();
    FakeXen::instance().records = false;
    crossings = std::move(Crossings::make(std::vector{&mailboxes[0], &mailboxes[1]})).value();
    for (uint16_t i : {1, 0}) {  // kicks are the first one's
      grants[i] = Grants::open().value();
      events[i] = EventChannels::open().value();
      workers[i] = std::make_unique<Worker>(WorkerOptions{.spin_us = 20}, mailboxes[i], *grants[i],
                                            *events[i], *pool, &crossings->end(i));
    }
    for (uint16_t i : {0, 1}) threads[i] = std::thread([this, i] { workers[i]->run(); });
    controls[0].post_and_wait(AttachPort{&port});
  }
  void use_table(const std::vector<TestGuest*>& guests) {
    auto next = table_of(port, guests);
    for (Control& control : controls) control.post_and_wait(UseTable{next.get()});
    table = std::move(next);
  }
  void end() {
    controls[0].post_and_wait(DetachPort{&port});
    for (Control& control : controls) control.post_and_wait(Stop{});
    for (std::thread& thread : threads) thread.join();
    crossings.reset();
    CHECK(pool->free_buffers() == pool->buffers());
  }
};

void push(TestGuest& guest) {
  if (guest.from_guest.push()) FakeXen::instance().kick(guest.queue->from_guest_port);
}

}  // namespace

TEST_CASE("handover: frames cross between two workers while vifs come and go") {
  TwoWorkers two;
  for (uint32_t round = 0; round < vif_rounds; ++round) {
    TestGuest here(0, 7), there(1, 8);
    there.queue->worker = 1;
    TestGuest* const guests[] = {&here, &there};
    for (TestGuest* guest : guests) {
      guest->post_buffers(2 * frames_each_way);
      TestGuest* const other = guest == &here ? &there : &here;
      for (uint16_t id = 0; id < frames_each_way; ++id)
        guest->put_frame(
            make_frame(id % 4 == 0 ? to_all : other->settings.mac, guest->settings.mac, 60), id);
    }
    for (int i : {0, 1}) two.controls[i].post_and_wait(AttachQueue{guests[i]->queue.get()});
    two.use_table({&here, &there});
    for (TestGuest* guest : guests) push(*guest);
    const bool whole = round % 2 == 0;  // or they leave in the middle
    if (whole) {
      for (TestGuest* guest : guests)
        REQUIRE(soon([&] { return guest->count(Q::to_guest_frames) == frames_each_way; }));
      // The port does not run: its worker says so of the other one's frames.
      REQUIRE(soon([&] {
        return there.queue->total(Q::from_guest_drop_too_early_frames) == frames_each_way / 4;
      }));
    }
    two.use_table({});
    for (int i : {0, 1}) two.controls[i].post_and_wait(DetachQueue{guests[i]->queue.get(), !whole});
    for (TestGuest* guest : guests) {
      CHECK(guest->deliveries().size() <= frames_each_way);
      if (whole) CHECK(guest->answers().size() == frames_each_way);
    }
  }
  two.end();
}

TEST_CASE("handover: each worker has its own queue pair of a port, and none crosses to it") {
  TwoWorkers two;
  PortQueue second{.port = 0, .queue = 1, .worker = 1};
  two.controls[0].post_and_wait(DetachPort{&two.port});
  for (PortQueue* pair : {&two.port, &second}) pair->by_worker = {&two.port, &second};
  two.controls[0].post_and_wait(AttachPort{&two.port});
  two.controls[1].post_and_wait(AttachPort{&second});
  for (int round = 0; round < 10; ++round) {
    TestGuest here(0, 7), there(1, 8);
    there.queue->worker = 1;
    TestGuest* const guests[] = {&here, &there};
    for (TestGuest* guest : guests)
      for (uint16_t id = 0; id < frames_each_way; ++id)
        guest->put_frame(make_frame({{2, 0, 0, 9, 9, 9}}, guest->settings.mac, 60), id);
    for (int i : {0, 1}) two.controls[i].post_and_wait(AttachQueue{guests[i]->queue.get()});
    two.use_table({&here, &there});
    for (TestGuest* guest : guests) push(*guest);
    for (TestGuest* guest : guests)  // the pairs do not run, and say so of their own guests
      REQUIRE(soon([&] {
        return guest->queue->counters.read(Q::from_guest_drop_too_early_frames) == frames_each_way;
      }));
    two.use_table({});
    for (int i : {0, 1}) two.controls[i].post_and_wait(DetachQueue{guests[i]->queue.get(), false});
  }
  for (const auto& worker : two.workers)
    CHECK(worker->counters().read(WorkerCounter::worker_crossed_frames) == 0);
  two.controls[1].post_and_wait(DetachPort{&second});
  two.end();
}

// Without a wake-up it would be 10 ms until the other worker looks.
TEST_CASE("handover: a worker that sleeps is woken by a frame that crosses") {
  TwoWorkers two;
  TestGuest here(0, 7), there(1, 8);
  there.queue->worker = 1;
  constexpr uint16_t frames = 101;
  there.post_buffers(frames);
  for (uint16_t id = 0; id < frames; ++id)
    here.data_page(make_frame(there.settings.mac, here.settings.mac, 60));
  two.controls[0].post_and_wait(AttachQueue{here.queue.get()});
  two.controls[1].post_and_wait(AttachQueue{there.queue.get()});
  two.use_table({&here, &there});
  std::vector<Clock::duration> waits;
  for (uint16_t id = 0; id < frames; ++id) {
    std::this_thread::sleep_for(std::chrono::microseconds(500));  // both are asleep
    const auto began = Clock::now();
    here.put_slot(id, 60, 0, 0, TestGuest::first_data_reference + 1 + id);
    push(here);
    REQUIRE(soon([&] { return there.count(Q::to_guest_frames) == id + 1u; }));
    waits.push_back(Clock::now() - began);
  }
  std::ranges::sort(waits);
  CHECK(waits[frames / 2] < std::chrono::milliseconds(4));
  CHECK(two.workers[1]->counters().read(WorkerCounter::worker_sleeps) > frames / 2);
  two.use_table({});
  two.controls[0].post_and_wait(DetachQueue{here.queue.get(), false});
  two.controls[1].post_and_wait(DetachQueue{there.queue.get(), false});
  two.end();
}
