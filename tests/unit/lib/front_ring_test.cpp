// The guest's half, which all other tests rely on.
#include "lib/netfront/front_ring.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("front ring: starts as SHARED_RING_INIT does") {
  Page page;
  std::memset(page.bytes, 0xff, sizeof page.bytes);
  FromGuestFrontRing ring(page.bytes);
  const auto* shared = reinterpret_cast<const netif_tx_sring_t*>(page.bytes);
  CHECK(shared->req_prod == 0);
  CHECK(shared->rsp_prod == 0);
  CHECK(shared->req_event == 1);
  CHECK(shared->rsp_event == 1);
  CHECK(ring.free_slots() == 256);
}

TEST_CASE("front ring: requests and extra info lie where the header has them") {
  Page page;
  FromGuestFrontRing ring(page.bytes);
  ring.put({.gref = 9, .offset = 8, .flags = 7, .id = 6, .size = 5});
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.u.gso.size = 1460;
  ring.put(extra);
  auto* shared = reinterpret_cast<netif_tx_sring_t*>(page.bytes);
  CHECK(shared->ring[0].req.gref == 9);
  CHECK(shared->ring[0].req.offset == 8);
  CHECK(shared->ring[0].req.flags == 7);
  CHECK(shared->ring[0].req.id == 6);
  CHECK(shared->ring[0].req.size == 5);
  CHECK(reinterpret_cast<netif::ExtraInfo*>(&shared->ring[1])->u.gso.size == 1460);
  CHECK(shared->req_prod == 0);
  CHECK(ring.push());
  CHECK(shared->req_prod == 2);
  CHECK(ring.free_slots() == 254);
}

TEST_CASE("front ring: notifies only when the backend's mark is passed") {
  Page page;
  FromGuestFrontRing ring(page.bytes);
  ring.req_event() = 3;
  for (int i = 0; i < 2; ++i) {
    ring.put(netif::FromGuestRequest{});
    CHECK_FALSE(ring.push());
  }
  ring.put(netif::FromGuestRequest{});
  CHECK(ring.push());
  ring.put(netif::FromGuestRequest{});
  CHECK_FALSE(ring.push());
}

TEST_CASE("front ring: reads answers once, in order") {
  Page page;
  ToGuestFrontRing ring(page.bytes, UINT32_MAX);
  CHECK_FALSE(ring.get());
  ring.slot(UINT32_MAX).response.id = 4;
  ring.slot(0).response.id = 5;
  ring.rsp_prod() = 1;
  CHECK(ring.get()->id == 4);
  CHECK(ring.get()->id == 5);
  CHECK_FALSE(ring.get());
  ring.ask_event(2);
  CHECK(ring.rsp_event() == 3);
}
