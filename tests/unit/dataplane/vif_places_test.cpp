// Vifs with several queues in lists, and their shares of a turn.
#include "dataplane/vif_places.hpp"

#include <algorithm>
#include <set>

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A vif with several queues and others with one each, without a worker.
struct Vifs {
  std::vector<std::unique_ptr<TestGuest>> guests;
  std::vector<GuestQueue*> queues;  // of the first vif

  explicit Vifs(uint32_t queue_count, uint32_t others) {
    FakeXen::instance().reset();
    for (uint32_t i = 0; i < queue_count + others; ++i)
      guests.push_back(
          std::make_unique<TestGuest>(static_cast<uint16_t>(i), static_cast<uint16_t>(7 + i)));
    for (uint32_t i = 0; i < queue_count; ++i) queues.push_back(guests[i]->queue.get());
    make_siblings(queues);
  }
  GuestQueue& queue(uint32_t i) { return *guests[i]->queue; }
};

using Places = std::vector<GuestQueue*>;

// Such vifs with more requests than are ever taken: how many slots each guest gets.
std::vector<uint32_t> collected(uint32_t queue_count, uint32_t others, uint32_t turns) {
  Vifs v(queue_count, others);
  FromGuestStages s;
  std::vector<uint32_t> taken(v.guests.size());
  for (auto& guest : v.guests) s.queues.add(*guest->queue);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    for (auto& guest : v.guests) {
      while (guest->answers(), guest->from_guest.free_slots() > 0) guest->put_slot(0, 60);
      guest->from_guest.push();
    }
    from_guest::collect(s.queues, s.batch, 0, 0);
    for (uint32_t r = 0; r < s.batch.run_count; ++r) {
      const SlotRun& run = s.batch.runs[r];
      run.queue->from_guest.take(run.slot_count);
      for (uint32_t i = 0; i < run.slot_count; ++i) run.queue->from_guest.answer({});
      run.queue->from_guest.publish();
      for (size_t g = 0; g < v.guests.size(); ++g)
        if (v.guests[g]->queue.get() == run.queue) taken[g] += run.slot_count;
    }
  }
  return taken;
}

uint32_t sum(const std::vector<uint32_t>& all, size_t first, size_t end) {
  uint32_t total = 0;
  for (size_t i = first; i < end; ++i) total += all[i];
  return total;
}

}  // namespace

TEST_CASE("vif places: a vif has one, its queues take turns there") {
  Vifs v(3, 1);
  Backlogged list;
  for (auto& guest : v.guests) list.add(*guest->queue);
  CHECK(list.places() == Places{&v.queue(0), &v.queue(3)});
  CHECK(list.size() == 2);
  for (const uint32_t expected : {1u, 2u, 0u, 1u}) {
    list.turn(0);
    list.turn(1);
    CHECK(list.places() == Places{&v.queue(expected), &v.queue(3)});
  }
  std::set<const GuestQueue*> seen;
  uint32_t calls = 0;
  list.each([&](const GuestQueue& queue) { seen.insert(&queue), ++calls; });
  CHECK(seen.size() == 4);
  CHECK(calls == 4);
}

TEST_CASE("vif places: only those that are listed take turns and are met") {
  Vifs v(4, 0);
  Backlogged list;
  list.add(v.queue(1));
  list.add(v.queue(3));
  CHECK(list.places() == Places{&v.queue(1)});
  CHECK(&Backlogged::next(v.queue(1)) == &v.queue(3));
  CHECK(&Backlogged::next(v.queue(3)) == &v.queue(1));
  uint32_t calls = 0;
  list.each([&](const GuestQueue& queue) { calls += queue.number; });
  CHECK(calls == 4);
  CHECK_FALSE(v.queue(0).in_backlogged);
}

TEST_CASE("vif places: a queue that goes hands the place on, the last one takes it along") {
  Vifs v(2, 2);
  Backlogged list;
  for (auto& guest : v.guests) list.add(*guest->queue);
  list.remove(v.queue(0));
  CHECK_FALSE(v.queue(0).in_backlogged);
  CHECK(list.places() == Places{&v.queue(1), &v.queue(2), &v.queue(3)});
  list.remove(v.queue(0));  // harmless
  CHECK(list.size() == 3);
  list.remove(v.queue(1));
  CHECK(list.places() == Places{&v.queue(3), &v.queue(2)});
  list.add(v.queue(1));
  CHECK(list.places() == Places{&v.queue(3), &v.queue(2), &v.queue(1)});
  list.add(v.queue(0));
  list.remove(v.queue(0));  // has no place of its own
  CHECK(list.places() == Places{&v.queue(3), &v.queue(2), &v.queue(1)});
  CHECK(v.queue(1).in_backlogged);
}

TEST_CASE("vif places: those that are taken out keep the order of the others") {
  Vifs v(3, 3);
  Backlogged list;
  for (auto& guest : v.guests) list.add(*guest->queue);
  list.remove_if(
      [&](const GuestQueue& queue) { return &queue == &v.queue(0) || &queue == &v.queue(4); });
  CHECK(list.places() == Places{&v.queue(1), &v.queue(3), &v.queue(5)});
  CHECK_FALSE(v.queue(0).in_backlogged);
  CHECK_FALSE(v.queue(4).in_backlogged);
  list.remove_if([](const GuestQueue& queue) { return queue.siblings.size() > 1; });
  CHECK(list.places() == Places{&v.queue(3), &v.queue(5)});
  CHECK_FALSE(v.queue(2).in_backlogged);
}

TEST_CASE("queue set: the queues of a vif park one by one") {
  Vifs v(2, 0);
  QueueSet set;
  for (GuestQueue* queue : v.queues) set.add(*queue);
  CHECK(set.hot().size() == 1);
  while (!QueueSet::note(v.queue(0), false)) {
  }
  set.park_idle();
  CHECK(set.hot() == Places{&v.queue(1)});
  REQUIRE(set.parked().size() == 1);
  CHECK(set.parked()[0].queue == &v.queue(0));
  set.unpark_if([](const GuestQueue&) { return true; });
  CHECK(set.hot().size() == 1);
  uint32_t hot = 0;
  set.each_hot([&](const GuestQueue&) { ++hot; });
  CHECK(hot == 2);
}

TEST_CASE("collect: a vif has one share of a turn, however many queues it has") {
  constexpr uint32_t turns = 900;
  for (const uint32_t others : {1u, 2u, 5u}) {
    const auto taken = collected(8, others, turns);
    const double fair = double(sum(taken, 0, taken.size())) / (others + 1);
    INFO("beside " << others);
    CHECK(sum(taken, 0, 8) > 0.95 * fair);
    CHECK(sum(taken, 0, 8) < 1.05 * fair);
    for (size_t i = 8; i < taken.size(); ++i) CHECK(taken[i] > 0.95 * fair);
    // And its queues share that.
    for (size_t i = 0; i < 8; ++i) CHECK(taken[i] > 0.9 * fair / 8);
  }
}

TEST_CASE("collect: the queues of a vif that is alone fill the turn together") {
  Vifs v(4, 0);
  FromGuestStages s;
  for (GuestQueue* queue : v.queues) s.queues.add(*queue);
  for (auto& guest : v.guests) {
    for (int i = 0; i < 20; ++i) guest->put_slot(0, 60);
    guest->from_guest.push();
  }
  from_guest::collect(s.queues, s.batch, 0, 0);
  CHECK(s.batch.run_count == 4);
  CHECK(s.batch.slot_count == 80);
}

TEST_CASE("collect: a vif's next queue is looked at only with room for a whole chain") {
  Vifs v(3, 1);
  FromGuestStages s;
  for (auto& guest : v.guests) {
    s.queues.add(*guest->queue);
    for (uint32_t i = 0; i < 64 - limits::chain_slots_max + 1; ++i) guest->put_slot(0, 60);
    guest->from_guest.push();
  }
  from_guest::collect(s.queues, s.batch, 0, 0);
  REQUIRE(s.batch.run_count == 2);  // one of its queues, and the other vif
  CHECK(s.batch.runs[0].queue == &v.queue(0));
  CHECK(s.batch.runs[1].queue == &v.queue(3));
  from_guest::collect(s.queues, s.batch, 0, 0);
  CHECK(std::any_of(s.batch.runs.begin(), s.batch.runs.begin() + s.batch.run_count,
                    [&](const SlotRun& run) { return run.queue == &v.queue(1); }));
}

TEST_CASE("copy: a vif has one share of a turn, however many of its queues are backlogged") {
  for (const uint32_t others : {1u, 2u}) {
    Vifs v(8, others);
    ToGuestStages s;
    std::vector<uint32_t> delivered(v.guests.size());
    for (auto& guest : v.guests) guest->post_buffers(200);
    for (uint32_t turn = 0; turn < 48; ++turn) {
      for (size_t g = 0; g < v.guests.size(); ++g)
        while (v.guests[g]->queue->backlog.count() < (g < 8 ? 20 : 130))
          s.queue_frame(plain_frame(60), *v.guests[g]);
      s.run();
      for (size_t g = 0; g < v.guests.size(); ++g) {
        const auto count = static_cast<uint32_t>(v.guests[g]->deliveries().size());
        delivered[g] += count;
        if (count > 0) v.guests[g]->post_buffers(count);
      }
    }
    const double fair = double(sum(delivered, 0, delivered.size())) / (others + 1);
    INFO("beside " << others);
    CHECK(sum(delivered, 0, 8) > 0.9 * fair);
    CHECK(sum(delivered, 0, 8) < 1.1 * fair);
    for (size_t i = 8; i < delivered.size(); ++i) CHECK(delivered[i] > 0.9 * fair);
    for (size_t i = 0; i < 8; ++i) CHECK(delivered[i] > 0.8 * fair / 8);
  }
}
