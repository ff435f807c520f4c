// A guest that sends a stream to a port that wakes a thread for each burst.
#include "dataplane/worker.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Streaming : TestHost {
  TestGuest& guest = add_guest();
  TestPort& port = *ports[0];

  Streaming() { port.queue.can.wakes_thread = true; }
  // Frames of one slot each, all in one turn's reach; the next ones have the next seeds.
  void put(int frames) {
    for (int i = 0; i < frames; ++i) {
      guest.put_frame(frame(elsewhere, guest, 100, seed), seed);
      ++seed;
    }
    guest.from_guest.push();
  }
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
  host.turn();
  const auto sent = host.port.sent_bytes();
  REQUIRE(sent.size() == 16);
  for (uint8_t i = 0; i < 16; ++i) CHECK(sent[i] == host.frame(elsewhere, host.guest, 100, i));
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
