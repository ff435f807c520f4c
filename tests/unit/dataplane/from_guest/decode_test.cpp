// Slots to frames: the rules of netif.h as Linux applies them. protocol 1.12 cases 1 to 7, 3.1.
#include "dataplane/from_guest/decode.hpp"

#include <catch2/catch.hpp>

#include "dataplane/from_guest/collect.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A guest whose slots go through collect and decode.
struct Decoding {
  TestGuest guest{0};
  QueueSet queues;
  FromGuestBatch batch;

  Decoding() { queues.add(*guest.queue); }
  void run() {
    guest.from_guest.push();
    from_guest::collect(queues, batch);
    from_guest::decode(batch);
  }
  void put(uint16_t size, uint16_t flags = 0, uint16_t offset = 0, uint32_t gref = 100) {
    guest.from_guest.put({.gref = gref, .offset = offset, .flags = flags, .id = 1, .size = size});
  }
  void put_gso(uint16_t mss, uint8_t type = XEN_NETIF_GSO_TYPE_TCPV4, uint8_t flags = 0) {
    netif::ExtraInfo extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = flags;
    extra.u.gso.size = mss;
    extra.u.gso.type = type;
    guest.from_guest.put(extra);
  }
};

}  // namespace

TEST_CASE("decode: an empty ring has no frames") {  // FBT 1
  Decoding d;
  d.run();
  CHECK(d.batch.run_count == 0);
  CHECK(d.batch.frame_count == 0);
}

TEST_CASE("decode: one request is one frame") {  // FBT 2
  Decoding d;
  d.put(69);
  d.run();
  REQUIRE(d.batch.frame_count == 1);
  const GuestFrame& frame = d.batch.frames[0];
  CHECK(frame.good());
  CHECK(frame.bytes == 69);
  CHECK(frame.slot_count == 1);
  CHECK(frame.extra_count == 0);
  CHECK(frame.first_slot == 0);
  CHECK(frame.flags == 0);
}
