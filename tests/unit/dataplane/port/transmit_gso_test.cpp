// GSO frames on their way to a port: cut here, or by the port.
#include <rte_ethdev.h>

#include "dataplane/port/transmit.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_port.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;

struct GsoPort : Bench {
  TestGuest guest{0};
  TestPort port;
  std::unique_ptr<ForwardTable> table;

  explicit GsoPort(uint32_t port_takes = 1023) : port(*pool, port_takes) {
    const ForwardTable::Vif vif{guest.queue.get(), port.queue.port, guest.settings.mac};
    table = std::move(ForwardTable::make({&port.queue}, {vif})).value();
  }
  void queue(rte_mbuf* frame) {
    frame->port = source_of_vif(0);
    port.queue.outgoing.push(frame);
  }
  void queue(const Packet& packet, uint16_t segment_bytes, uint32_t piece = 0) {
    queue(make_gso_mbuf(*pool, packet, segment_bytes, piece));
  }
  void send() {
    PortQueue* const ports[] = {&port.queue};
    port::transmit(ports, *table, *pool);
    CHECK(port.queue.outgoing.count == 0);
  }
  uint64_t count(PortCounter counter) const { return port.count(counter); }
};

// A port that cuts frames itself, if it takes them.
struct CuttingPort : GsoPort {
  explicit CuttingPort(bool ipv4_checksum = true) {
    port.queue.can.checksum = port.queue.can.segments = true;
    port.queue.can.ipv4_checksum = ipv4_checksum;
  }
  // Whether it was given this packet whole.
  bool takes(const Packet& packet, uint16_t segment_bytes) {
    queue(packet, segment_bytes);
    send();
    size_t sent = 0;
    while (rte_mbuf* frame = port.sent()) {
      ++sent;
      CHECK(((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) == (frame->pkt_len > 1514));
      rte_pktmbuf_free(frame);
    }
    CHECK(sent > 0);
    return sent == 1;
  }
};

}  // namespace

TEST_CASE("transmit: a port without segmentation gets segments, in order with other frames") {
  for (const bool ipv6 : {false, true}) {
    for (const bool chains : {false, true}) {
      GsoPort t;
      t.port.queue.can.chains = chains;
      const Packet packet = make_packet({.ipv6 = ipv6, .payload = 20'000, .tcp_flags = 0x99});
      std::vector<Bytes> expected{plain_frame(60, 1), plain_frame(61, 2)};
      for (const Bytes& part : segments_of(packet, 1400)) expected.push_back(part);
      for (const Bytes& part : segments_of(packet, 999)) expected.push_back(part);
      expected.push_back(plain_frame(62, 3));
      t.queue(make_mbuf(*t.pool, expected[0]));
      t.queue(make_mbuf(*t.pool, expected[1]));
      t.queue(packet, 1400);
      t.queue(packet, 999);
      t.queue(make_mbuf(*t.pool, expected.back()));
      t.send();
      CHECK(t.port.sent_bytes() == expected);
      CHECK(t.count(PortCounter::port_sent_frames) == expected.size());
      CHECK(t.count(PortCounter::port_sent_bursts) == 4);
      CHECK(t.count(PortCounter::port_cut_frames) == 2);
      CHECK(t.count(PortCounter::port_checksums_completed) == expected.size() - 3);
      size_t bytes = 0;
      for (const Bytes& frame : expected) bytes += frame.size();
      CHECK(t.count(PortCounter::port_sent_bytes) == bytes);
    }
  }
}

TEST_CASE("transmit: checksums of segments are the port's, if it fills them in") {
  GsoPort t;
  t.port.queue.can.checksum = true;
  const Packet packet = make_packet({.payload = 2500});
  t.queue(packet, 1000);
  t.send();
  for (size_t i = 0; i < 3; ++i) {
    rte_mbuf* part = t.port.sent();
    REQUIRE(part != nullptr);
    CHECK((part->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM);
    CHECK(part->l4_len == 20);
    rte_pktmbuf_free(part);
  }
  CHECK(t.count(PortCounter::port_checksums_completed) == 0);
}

TEST_CASE("transmit: segments longer than the port's frames are dropped, as one frame") {
  GsoPort t;
  t.port.queue.can.frame_bytes_max = 1054;
  const Packet packet = make_packet({.payload = 3000});
  t.queue(packet, 1000);
  t.queue(packet, 1001);
  t.send();
  CHECK(t.port.sent_bytes() == segments_of(packet, 1000));
  CHECK(t.guest.count(Q::from_guest_drop_port_too_long_frames) == 1);
}

TEST_CASE("transmit: segments of several buffers, and a port that takes one") {
  for (const bool chains : {false, true}) {
    GsoPort t;
    t.port.queue.can.chains = chains;
    t.port.queue.can.frame_bytes_max = 9014;
    const Packet packet = make_packet({.payload = 20'000});
    t.queue(packet, 8960);
    t.queue(packet, 1994);
    t.send();
    auto expected = chains ? segments_of(packet, 8960) : std::vector<Bytes>{};
    if (!chains) expected.clear();  // of the last segment, 2,080 bytes, too
    for (const Bytes& part : segments_of(packet, 1994)) expected.push_back(part);
    CHECK(t.port.sent_bytes() == expected);
    CHECK(t.guest.count(Q::from_guest_drop_no_buffer_frames) == (chains ? 0 : 3));
  }
}

TEST_CASE("transmit: without buffers a frame is dropped whole") {
  GsoPort t;
  const Packet packet = make_packet({.payload = 10'000});
  t.queue(packet, 1000);
  t.leave_buffers(9);
  t.send();
  CHECK(t.port.sent_bytes().empty());
  CHECK(t.guest.count(Q::from_guest_drop_no_buffer_frames) == 1);
  CHECK(t.count(PortCounter::port_cut_frames) == 0);
}

TEST_CASE("transmit: a port that is full takes the first segments, as a wire does") {
  GsoPort t(7);
  const Packet packet = make_packet({.payload = 10'000});
  t.queue(packet, 1000);
  t.send();
  auto expected = segments_of(packet, 1000);
  expected.resize(7);
  CHECK(t.port.sent_bytes() == expected);
  CHECK(t.guest.count(Q::from_guest_drop_port_full_frames) == 3);
}

TEST_CASE("transmit: before the port runs, nothing is cut") {
  GsoPort t;
  t.port.queue.running = false;
  t.queue(make_packet({.payload = 10'000}), 1000);
  t.send();
  CHECK(t.guest.count(Q::from_guest_drop_too_early_frames) == 1);
}

TEST_CASE("transmit: a port with segmentation gets the frame and what DPDK wants of it") {
  for (const bool ipv4_checksum : {false, true}) {
    for (const bool ipv6 : {false, true}) {
      CuttingPort t(ipv4_checksum);
      const Packet packet = make_packet({.ipv6 = ipv6, .tagged = true, .payload = 20'000});
      t.queue(packet, 1400);
      t.send();
      rte_mbuf* frame = t.port.sent();
      REQUIRE(frame != nullptr);
      CHECK(t.port.sent() == nullptr);
      CHECK((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0);
      CHECK(((frame->ol_flags & RTE_MBUF_F_TX_IPV4) != 0) == !ipv6);
      CHECK(((frame->ol_flags & RTE_MBUF_F_TX_IPV6) != 0) == ipv6);
      CHECK(((frame->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) == (!ipv6 && ipv4_checksum));
      CHECK(frame->tso_segsz == 1400);
      CHECK(frame->l2_len == 18);
      CHECK(frame->l4_len == 20);
      // The sum of the pseudo-header, as if its length were 0.
      Packet of_no_length = packet;
      of_no_length.end = of_no_length.l4;
      Bytes expected = with_pseudo_header_sum(of_no_length);
      if (!ipv6 && ipv4_checksum) expected[packet.l3 + 10] = expected[packet.l3 + 11] = 0;
      CHECK(bytes_of(frame) == expected);
      rte_pktmbuf_free(frame);
      CHECK(t.count(PortCounter::port_gso_frames) == 1);
      CHECK(t.count(PortCounter::port_cut_frames) == 0);
      CHECK(t.count(PortCounter::port_sent_bytes) == packet.bytes.size());
    }
  }
}

TEST_CASE("transmit: what drivers are known to get wrong is cut here") {
  const Packet packet = make_packet({.ipv6 = true, .payload = 4000});
  CuttingPort t;
  CHECK(t.takes(packet, 256));
  CHECK_FALSE(t.takes(packet, 255));
  CHECK_FALSE(t.takes(make_packet({.ipv6 = true, .payload = 4000, .extensions = {8}}), 1400));
  CHECK(t.takes(make_packet({.payload = 4000, .options = 8}), 1400));
  t.port.queue.can.segmented_buffers_max = 2;
  CHECK(t.takes(make_packet({.payload = 4096 - 54}), 1400));
  CHECK_FALSE(t.takes(make_packet({.payload = 4097 - 54}), 1400));
  t.port.queue.can.segmented_buffers_max = 100;
  t.port.queue.can.chains = false;
  CHECK_FALSE(t.takes(packet, 1400));
}

TEST_CASE("transmit: a port holds a stream's frames that it cuts itself, none that are cut here") {
  CuttingPort t;
  t.port.queue.can.held_buffers_max = 128;
  PortQueue* const ports[] = {&t.port.queue};
  for (const uint16_t segment_bytes : {256, 255}) {
    t.queue(make_packet({.ipv6 = true, .payload = 4000}), segment_bytes);
    CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1) == (segment_bytes == 256));
  }
  CHECK(t.port.queue.outgoing.count == 0);
  while (rte_mbuf* frame = t.port.sent()) rte_pktmbuf_free(frame);
}

TEST_CASE("transmit: segments of a port's own are not longer than its frames either") {
  CuttingPort t;
  t.queue(make_packet({.payload = 4000}), 1461);
  t.send();
  CHECK(t.guest.count(Q::from_guest_drop_port_too_long_frames) == 1);
}

TEST_CASE("transmit: a frame that the driver refuses to prepare is dropped by name") {
  CuttingPort t;
  auto& prepare = rte_eth_fp_ops[t.port.queue.port].tx_pkt_prepare;
  const auto before = prepare;
  prepare = [](void*, rte_mbuf**, uint16_t) { return uint16_t{0}; };
  t.queue(make_packet({.payload = 4000}), 1400);
  t.queue(make_mbuf(*t.pool, plain_frame(60)));
  t.send();
  CHECK(t.port.sent_bytes() == std::vector<Bytes>{plain_frame(60)});
  CHECK(t.guest.count(Q::from_guest_drop_port_refused_frames) == 1);
  CHECK(t.count(PortCounter::port_gso_frames) == 0);
  prepare = before;
}
