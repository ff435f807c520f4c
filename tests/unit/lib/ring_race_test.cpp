// Both halves of a ring on two threads that act at the same moment, again and again: whoever makes
// something visible and then looks must not miss the other who does the same (ring.h's barriers).
// Of two that missed each other, one would sleep for ever. Runs with the thread sanitizer too.
#include <catch2/catch.hpp>

#include <rte_pause.h>

#include <thread>

#include "lib/netfront/front_ring.hpp"
#include "lib/xen/ring.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t rounds = 60'000;  // from each of two first indices

// Where two threads wait for one another.
class Meeting {
 public:
  // `me`: 0 or 1. Returns once both have called it as often.
  void meet(uint32_t me) {
    const uint32_t mine = arrived_[me].load(std::memory_order_relaxed) + 1;
    arrived_[me].store(mine, std::memory_order_release);
    for (uint32_t spins = 0; arrived_[1 - me].load(std::memory_order_acquire) < mine; ++spins) {
      if (spins < 500)
        rte_pause();
      else
        std::this_thread::yield();  // the other one has no CPU
    }
  }

 private:
  alignas(64) std::atomic<uint32_t> arrived_[2] = {};
};

// What the guest asks for in a round, so that the backend can check each word of it.
netif::FromGuestRequest request_of(uint32_t round) {
  return {.gref = round * 2654435761u,
          .offset = uint16_t(round * 3),
          .flags = uint16_t(round * 5),
          .id = uint16_t(round),
          .size = uint16_t(round * 7)};
}
bool same(const netif::FromGuestRequest& a, const netif::FromGuestRequest& b) {
  return a.gref == b.gref && a.offset == b.offset && a.flags == b.flags && a.id == b.id &&
         a.size == b.size;
}

// Moments that differ by a few cycles more or less from round to round.
void wait_a_little(uint32_t round, uint32_t step) {
  for (uint32_t i = round * step % 8; i > 0; --i) rte_pause();
}

struct Race {
  Page page;
  FromGuestFrontRing front;
  FromGuestRing back;
  Meeting meeting;
  bool kicks = false;  // the guest's, of a round: read by the backend after they met
  uint32_t lost_wakeups = 0, lost_notifications = 0, wrong_requests = 0, wrong_answers = 0;
  uint32_t kicked = 0, notified = 0;  // rounds in which it was the other who was told

  explicit Race(uint32_t start)
      : front(page.bytes, start), back(FromGuestRing::attach(page.bytes).value()) {}

  void guest() {
    std::atomic_ref answered(front.rsp_prod()), wanted(front.rsp_event());
    for (uint32_t round = 0; round < rounds; ++round) {
      front.put(request_of(round));
      meeting.meet(0);
      wait_a_little(round, 3);
      kicks = front.push();
      meeting.meet(0);

      meeting.meet(0);  // the backend has the answer ready
      wait_a_little(round, 7);
      wanted.store(front.consumed() + 1);  // RING_FINAL_CHECK_FOR_RESPONSES
      const bool sees = answered.load() != front.consumed();
      meeting.meet(0);
      lost_notifications += !sees && !notifies;
      const auto answer = front.get();
      wrong_answers += !answer || answer->id != uint16_t(round) || front.get();
    }
  }

  void backend() {
    for (uint32_t round = 0; round < rounds; ++round) {
      meeting.meet(1);
      wait_a_little(round, 5);
      const bool sees = back.arm();
      meeting.meet(1);
      lost_wakeups += !sees && !kicks;
      kicked += kicks;
      netif::FromGuestRequest request{};
      back.copy_out(0, std::span(&request, 1));
      wrong_requests += back.available() != 1u || !same(request, request_of(round));
      back.take(1);
      back.answer({.id = request.id, .status = 0});

      meeting.meet(1);
      wait_a_little(round, 1);
      notifies = back.publish();
      meeting.meet(1);
      notified += notifies;
    }
  }

 private:
  bool notifies = false;  // the backend's
};

}  // namespace

TEST_CASE("ring: no wake-up and no notification is lost, whoever comes first") {
  for (const uint32_t start : {0u, UINT32_MAX - rounds / 2}) {
    Race race(start);
    std::thread guest([&] { race.guest(); });
    race.backend();
    guest.join();
    CHECK(race.lost_wakeups == 0);
    CHECK(race.lost_notifications == 0);
    CHECK(race.wrong_requests == 0);
    CHECK(race.wrong_answers == 0);
    CHECK(race.back.unpublished() == 0);
    // Both came first now and then, or nothing was tried.
    CHECK((race.kicked > 0 && race.kicked < rounds));
    CHECK((race.notified > 0 && race.notified < rounds));
  }
}
