// A guest that sends a stream to a port that wakes a thread for each burst.
#include "dataplane/worker.hpp"

#include <rte_cycles.h>

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Streaming : TestHost {
  TestGuest& guest = add_guest();
  TestPort& port = *ports[0];

  Streaming() { port.queue.can.held_buffers_max = 128; }
  // Frames of one slot each, all in one turn's reach; the next ones have the next seeds.
  void put(int frames) {
    for (int i = 0; i < frames; ++i) {
      guest.put_frame(frame(elsewhere, guest, 100, seed), seed);
      ++seed;
    }
    guest.from_guest.push();
  }
  // The guest says nothing for longer than anything waits.
  void pause() { rte_delay_us_block(2 * limits::held_us_max); }
  uint8_t seed = 0;
};

}  // namespace

TEST_CASE("worker: a stream's frames of several turns leave together, in order, when it pauses") {
  Streaming host;
  host.put(8);
  CHECK(host.worker.turn());
  host.put(8);
  CHECK(host.worker.turn());
  CHECK(host.port.sent_bytes().empty());
  host.pause();
  host.turn();
  const auto sent = host.port.sent_bytes();
  REQUIRE(sent.size() == 16);
  for (uint8_t i = 0; i < 16; ++i) CHECK(sent[i] == host.frame(elsewhere, host.guest, 100, i));
}

TEST_CASE("worker: a stream's frames wait for the next ones as long as they took themselves") {
  Streaming host;
  bool waited = false;  // unless the test itself stood still meanwhile
  for (int i = 0; i < 1000 && !waited; ++i) {
    host.put(8);
    host.worker.turn();
    waited = host.worker.turn();
    CHECK(host.port.sent_bytes().size() == (waited ? 0 : 8));
    host.pause();
    host.turn();
    CHECK(host.port.sent_bytes().size() == (waited ? 8 : 0));
  }
  CHECK(waited);
  host.put(8);
  const uint64_t before = rte_rdtsc();
  host.worker.turn();
  const uint64_t after = rte_rdtsc();
  while (rte_rdtsc() - after < after - before) {
  }
  host.turn();
  CHECK(host.port.sent_bytes().size() == 8);
}

TEST_CASE("worker: a stream's frames do not wait for long, however long they took") {
  Streaming host;
  xen().during_copy = [] { rte_delay_us_block(20 * limits::held_us_max); };
  host.put(8);
  host.turn();
  xen().during_copy = nullptr;
  host.pause();
  host.turn();
  CHECK(host.port.sent_bytes().size() == 8);
}

TEST_CASE("worker: a guest that streams to another one does not hold up who sends to the port") {
  Streaming host;
  TestGuest& other = host.add_guest();
  TestGuest& receiver = host.add_guest();
  receiver.post_buffers(200);
  other.put_frame(host.frame(elsewhere, other, 100), 1);
  other.from_guest.push();
  host.put(8);
  host.worker.turn();
  for (int i = 0; i < 10; ++i) {
    for (uint8_t at = 0; at < 8; ++at)
      host.guest.put_frame(host.frame(receiver.settings.mac, host.guest, 100), at);
    host.guest.from_guest.push();
    if (i == 9) host.pause();
    host.worker.turn();
  }
  CHECK(host.port.sent_bytes().size() == 9);
}

TEST_CASE("worker: a stream's frames that wait have the last buffers no longer than they may") {
  Streaming host;
  host.leave_buffers(8);
  host.put(8);
  host.worker.turn();
  host.put(8);
  host.worker.turn();
  host.pause();
  host.worker.turn();
  CHECK(host.port.sent_bytes().size() == 8);
  host.worker.turn();
  host.pause();
  host.turn();
  CHECK(host.port.sent_bytes().size() == 8);
}

TEST_CASE("worker: fewer than eight slots of a turn are no stream") {
  Streaming host;
  host.put(7);
  host.turn();
  CHECK(host.port.sent_bytes().size() == 7);
}

TEST_CASE("worker: what a port holds leaves before a command takes effect") {
  Streaming host;
  host.put(8);
  host.turn();
  CHECK(host.port.sent_bytes().empty());
  SECTION("its vif leaves the table") {
    host.use_table({0});
    CHECK(host.port.sent_bytes().size() == 8);
    CHECK(host.guest.count(QueueCounter::from_guest_frames) == 8);
  }
  SECTION("the port has stopped: of its device nothing is used once the fence is acked") {
    host.port.queue.running = false;
    const uint32_t sequence = host.post(Fence{});
    host.put(8);  // more of the stream
    host.turn();
    CHECK(host.acked(sequence));
    CHECK(host.port.queue.outgoing.count == 0);
    CHECK(host.port.sent_bytes().empty());
    CHECK(host.guest.count(QueueCounter::from_guest_drop_too_early_frames) == 16);
  }
  SECTION("the port is taken away") {
    const uint32_t sequence = host.post(DetachPort{&host.port.queue});
    host.turn();
    CHECK(host.acked(sequence));
    CHECK(host.port.sent_bytes().size() == 8);
  }
}
