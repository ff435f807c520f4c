// A port with a queue pair for each worker: each uses its own, and what arrives by any finds its
// way.
#include "dataplane/port/port_queue.hpp"

#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using P = PortCounter;
using W = WorkerCounter;
using Frames = Crew::Frames;

// Two workers and two pairs. got() is of the guests, then of the pairs.
struct PairsCrew : Crew {
  explicit PairsCrew(const std::vector<CrewGuest>& wanted, uint32_t port_takes = 1023)
      : Crew(wanted, 2, port_takes, 2) {}

  uint64_t of_pair(uint16_t pair, PortCounter counter) const {
    return (pair == 0 ? port.queue : *port.others[0]).counters.read(counter);
  }
  uint64_t crossed() const {
    return count(0, W::worker_crossed_frames) + count(1, W::worker_crossed_frames);
  }
};

const std::vector<CrewGuest> in_each = {{.worker = 0}, {.worker = 1}};

}  // namespace

TEST_CASE("port_pairs: a guest's frames leave by its own worker's pair, in order, and none cross") {
  PairsCrew c(in_each);
  std::vector<Frames> sent(2);
  for (size_t i = 0; i < 20; ++i)
    for (size_t guest : {0, 1}) {
      sent[guest].push_back(c.frame(c.elsewhere, *c.guests[guest], 100 + i + 50 * guest));
      c.send(*c.guests[guest], sent[guest].back());
      c.guests[guest]->answers();
    }
  CHECK(c.got() == std::vector<Frames>{{}, {}, sent[0], sent[1]});
  CHECK(c.crossed() == 0);
  for (uint16_t pair : {0, 1}) CHECK(c.of_pair(pair, P::port_sent_frames) == 20);
}

TEST_CASE("port_pairs: what arrives by a pair reaches its guest, wherever that is") {
  PairsCrew c(in_each);
  for (uint16_t pair : {0, 1})
    for (uint16_t guest : {0, 1}) {
      const Bytes frame = make_frame(c.guests[guest]->settings.mac, c.elsewhere, 77);
      const uint64_t before = c.crossed();
      c.arrive(frame, pair);
      std::vector<Frames> expected(4);
      expected[guest] = {frame};
      CHECK(c.got() == expected);
      CHECK(c.crossed() - before == (guest == pair ? 0 : 1));
    }
  for (uint16_t pair : {0, 1}) CHECK(c.of_pair(pair, P::port_received_frames) == 2);
}

TEST_CASE("port_pairs: what is for all reaches all others and the port, each once") {
  PairsCrew c({{.worker = 0}, {.worker = 1}, {.worker = 1}});
  const Bytes out = c.frame(c.broadcast, *c.guests[1]);
  c.send(*c.guests[1], out);
  CHECK(c.got() == std::vector<Frames>{{out}, {}, {out}, {}, {out}});
  const Bytes in = make_frame(c.broadcast, c.elsewhere, 90);
  c.arrive(in, 1);
  CHECK(c.got() == std::vector<Frames>{{in}, {in}, {in}, {}, {}});
}

TEST_CASE("port_pairs: from a VLAN and from an isolated guest, too, by the worker's own") {
  PairsCrew c({{.worker = 1, .vlan = 7}, {.worker = 1, .isolated = true}});
  const Bytes first = c.frame(c.elsewhere, *c.guests[0]);
  c.send(*c.guests[0], first);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {tagged(first, 7)}});
  const Bytes second = c.frame(c.elsewhere, *c.guests[1]);
  c.send(*c.guests[1], second);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {second}});
  CHECK(c.crossed() == 0);
}

TEST_CASE("port_pairs: what goes nowhere is counted at the pair that it came by") {
  PairsCrew c(in_each);
  c.arrive(make_frame(c.elsewhere, {{2, 3, 3, 3, 3, 3}}, 60), 1);
  CHECK(c.of_pair(0, P::port_drop_no_destination_frames) == 0);
  CHECK(c.of_pair(1, P::port_drop_no_destination_frames) == 1);
  // Beyond what the ring to the other worker holds.
  constexpr uint32_t room = limits::crossing_ring_frames - 1;
  for (uint32_t i = 0; i < room; ++i) {
    c.put(*c.guests[1], c.frame(c.guests[0]->settings.mac, *c.guests[1]));
    if (i % 32 == 31) c.turn(1);
    c.guests[1]->answers();
  }
  c.turn(1);
  c.port.feed(make_mbuf(*c.pool, make_frame(c.guests[0]->settings.mac, c.elsewhere, 60)), 1);
  c.turn(1);
  CHECK(c.of_pair(0, P::port_drop_crossing_frames) == 0);
  CHECK(c.of_pair(1, P::port_drop_crossing_frames) == 1);
}

TEST_CASE("port_pairs: one that is full or does not run drops its own guests' frames") {
  PairsCrew c(in_each, 3);
  for (int i = 0; i < 5; ++i) c.put(*c.guests[1], c.frame(c.elsewhere, *c.guests[1]));
  c.turn();
  CHECK(c.guests[1]->queue->counters.read(Q::from_guest_drop_port_full_frames) == 2);
  CHECK(c.of_pair(1, P::port_sent_frames) == 3);
  c.port.others[0]->running = false;
  c.send(*c.guests[1], c.frame(c.elsewhere, *c.guests[1]));
  c.send(*c.guests[0], c.frame(c.elsewhere, *c.guests[0]));
  CHECK(c.guests[1]->queue->counters.read(Q::from_guest_drop_too_early_frames) == 1);
  CHECK(c.of_pair(0, P::port_sent_frames) == 1);
}
