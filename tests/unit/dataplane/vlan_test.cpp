// The tag in a frame's bytes.
#include "dataplane/vlan.hpp"

#include "dataplane/offload.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Frame : Bench {
  rte_mbuf* mbuf = nullptr;
  explicit Frame(const Bytes& bytes) : mbuf(make_mbuf(*pool, bytes)) {}
  ~Frame() { rte_pktmbuf_free(mbuf); }
};

uint16_t vlan_in(const Bytes& bytes) {
  const Frame frame(bytes);
  return vlan_of(frame.mbuf);
}
bool tag_in(const Bytes& bytes) {
  const Frame frame(bytes);
  return has_vlan_tag(frame.mbuf);
}

}  // namespace

TEST_CASE("vlan: the VLAN of a tag, without priority and drop eligibility") {
  CHECK(vlan_in(plain_frame(60)) == 0);
  for (const uint16_t tci : {1, 7, 4094, 4095}) {
    CHECK(vlan_in(tagged(plain_frame(60), tci)) == tci);
    CHECK(vlan_in(tagged(plain_frame(60), tci | 0xf000)) == tci);
  }
  CHECK(vlan_in(tagged(plain_frame(60), 0xe000)) == 0);
  CHECK(vlan_in(tagged(plain_frame(60), 7, 0x88a8)) == 0);
}

TEST_CASE("vlan: a tag that is not whole names none") {
  const Bytes bytes = tagged(plain_frame(14), 7);
  CHECK(vlan_in(bytes) == 7);
  for (size_t length = 14; length < 18; ++length)
    CHECK(vlan_in(Bytes(bytes.begin(), bytes.begin() + long(length))) == 0);
}

TEST_CASE("vlan: tags of both kinds are tags") {
  CHECK_FALSE(tag_in(plain_frame(60)));
  CHECK(tag_in(tagged(plain_frame(60), 0)));
  CHECK(tag_in(tagged(plain_frame(60), 7, 0x88a8)));
}

TEST_CASE("vlan: pushed and stripped a frame is as it was") {
  for (const size_t bytes : {14u, 60u, 2048u, 5000u}) {
    Frame frame(plain_frame(bytes));
    push_vlan(frame.mbuf, 4094);
    CHECK(bytes_of(frame.mbuf) == tagged(plain_frame(bytes), 4094));
    CHECK(frame.mbuf->pkt_len == bytes + 4);
    strip_vlan(frame.mbuf);
    CHECK(bytes_of(frame.mbuf) == plain_frame(bytes));
    CHECK(frame.mbuf->pkt_len == bytes);
    CHECK((frame.mbuf->ol_flags & (RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED)) == 0);
  }
}

TEST_CASE("vlan: headers that are known stay known, and what a GSO frame stands for with them") {
  Frame frame({14});
  rte_pktmbuf_free(frame.mbuf);
  const Packet packet = make_packet({.payload = 20'000});
  frame.mbuf = make_gso_mbuf(*frame.pool, packet, 1400);
  push_vlan(frame.mbuf, 9);
  CHECK(frame.mbuf->l2_len == 18);
  CHECK(segment_count(frame.mbuf) == 15);
  CHECK(wire_bytes(frame.mbuf) == packet.payload_at() + 4 + 1400);
  CHECK(longer_than(frame.mbuf, packet.payload_at() + 1399));
  CHECK_FALSE(longer_than(frame.mbuf, packet.payload_at() + 1400));
  strip_vlan(frame.mbuf);
  CHECK(frame.mbuf->l2_len == 14);
  CHECK(wire_bytes(frame.mbuf) == packet.payload_at() + 1400);
  CHECK(bytes_of(frame.mbuf) == with_pseudo_header_sum(packet));
}
