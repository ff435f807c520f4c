// What is made ready for a port and sent, and what it does not take.
#include "dataplane/port/transmit.hpp"

#include "dataplane/offload.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_port.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Transmitting : Bench {
  TestGuest guest{0}, other{1, 8};
  TestPort port;
  std::unique_ptr<ForwardTable> table;

  explicit Transmitting(uint32_t port_takes = 1023) : port(*pool, port_takes) {
    const ForwardTable::Vif vifs[] = {{guest.queue.get(), port.queue.port, guest.settings.mac},
                                      {other.queue.get(), port.queue.port, other.settings.mac}};
    table = std::move(ForwardTable::make({&port.queue}, {vifs[0], vifs[1]})).value();
  }
  // A frame of a guest's on its way to the port.
  rte_mbuf* queue(const Bytes& bytes, uint32_t piece = 0, uint16_t vif = 0) {
    rte_mbuf* frame = make_mbuf(*pool, bytes, piece);
    frame->port = source_of_vif(vif);
    port.queue.outgoing.push(frame);
    return frame;
  }
  void queue_blank(const Packet& packet, uint32_t piece = 0) {
    rte_mbuf* frame = queue(packet.bytes, piece);
    REQUIRE(parse_headers(frame));
    set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  }
  void send() {
    PortQueue* const ports[] = {&port.queue};
    port::transmit(ports, *table, *pool);
    CHECK(port.queue.outgoing.count == 0);
  }
};

}  // namespace

TEST_CASE("transmit: a chain of frames goes out as one burst, in order") {  // seed S1
  Transmitting t;
  std::vector<Bytes> frames;
  for (uint8_t i = 0; i < 40; ++i) {
    frames.push_back(plain_frame(60 + i, i));
    t.queue(frames.back());
  }
  t.send();
  CHECK(t.port.sent_bytes() == frames);
  CHECK(t.port.count(PortCounter::port_sent_frames) == 40);
  CHECK(t.port.count(PortCounter::port_sent_bytes) == 40 * 60 + 39 * 40 / 2);
  CHECK(t.port.count(PortCounter::port_sent_bursts) == 1);
}

TEST_CASE("transmit: a device that came back by another of DPDK's numbers is the same port") {
  Transmitting t;
  t.port.queue.port = static_cast<uint16_t>(t.port.queue.device + 1);
  t.queue(plain_frame(60));
  t.send();
  CHECK(t.port.sent_bytes() == std::vector<Bytes>{plain_frame(60)});
}

TEST_CASE("transmit: nothing to send is no burst") {
  Transmitting t;
  t.send();
  CHECK(t.port.count(PortCounter::port_sent_bursts) == 0);
}

TEST_CASE("seed_S01_before_the_port_runs_frames_are_dropped_and_counted") {
  Transmitting t;
  t.port.queue.running = false;
  t.queue(plain_frame(60));
  t.queue(plain_frame(60), 0, 1);
  t.send();
  CHECK(t.guest.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
  CHECK(t.other.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
  t.port.queue.running = true;
  t.send();
  CHECK(t.port.sent_bytes().empty());
  CHECK(t.port.count(PortCounter::port_sent_bursts) == 0);
}

TEST_CASE("seed_S02_what_the_port_does_not_take_is_dropped_at_the_vif_that_sent_it") {
  Transmitting t(7);
  for (uint8_t i = 0; i < 10; ++i) t.queue(plain_frame(60 + i), 0, i % 2);
  t.send();
  const auto sent = t.port.sent_bytes();
  REQUIRE(sent.size() == 7);
  for (uint8_t i = 0; i < 7; ++i) CHECK(sent[i] == plain_frame(60 + i));
  CHECK(t.guest.count(QueueCounter::from_guest_drop_port_full_frames) == 1);  // the ninth
  CHECK(t.other.count(QueueCounter::from_guest_drop_port_full_frames) == 2);
  CHECK(t.port.count(PortCounter::port_sent_frames) == 7);
  CHECK(t.port.count(PortCounter::port_sent_bytes) == 7 * 60 + 21);
}

TEST_CASE("transmit: a full port takes nothing and is no burst") {
  Transmitting t(1);
  for (int i = 0; i < 3; ++i) {
    t.queue(plain_frame(60));
    t.send();
  }
  CHECK(t.guest.count(QueueCounter::from_guest_drop_port_full_frames) == 2);
  CHECK(t.port.count(PortCounter::port_sent_bursts) == 1);
  CHECK(t.port.count(PortCounter::port_sent_bytes) == 60);
}

TEST_CASE("transmit: the port's longest frame passes, one byte more only with a tag") {
  Transmitting t;
  t.port.queue.can.frame_bytes_max = 100;
  Bytes tagged = plain_frame(104);
  tagged[12] = 0x81, tagged[13] = 0x00;
  t.queue(plain_frame(100));
  t.queue(plain_frame(101));
  t.queue(tagged);
  tagged.push_back(0);
  t.queue(tagged);
  t.send();
  CHECK(t.port.sent_bytes().size() == 2);
  CHECK(t.guest.count(QueueCounter::from_guest_drop_port_too_long_frames) == 2);
}

TEST_CASE("seed_S03_a_port_without_the_capability_gets_checksums_filled_in") {
  Transmitting t;
  const Packet packets[] = {make_packet({}), make_packet({.ipv6 = true, .udp = true}),
                            make_packet({.udp = true, .tagged = true})};
  for (const Packet& packet : packets) t.queue_blank(packet);
  t.queue(packets[0].bytes);  // not blank: as it is
  t.send();
  const auto sent = t.port.sent_bytes();
  REQUIRE(sent.size() == 4);
  for (size_t i = 0; i < 3; ++i) CHECK(sent[i] == completed(packets[i]));
  CHECK(sent[3] == packets[0].bytes);
  CHECK(t.port.count(PortCounter::port_checksums_completed) == 3);
}

TEST_CASE("seed_S03_a_port_with_the_capability_gets_flags_and_the_pseudo_header_sum") {
  Transmitting t;
  t.port.queue.can.checksum = true;
  const Packet packet = make_packet({.ipv6 = true, .tagged = true});
  t.queue_blank(packet);
  t.queue(packet.bytes);
  t.send();
  rte_mbuf* blank = t.port.sent();
  REQUIRE(blank != nullptr);
  CHECK((blank->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM);
  CHECK((blank->ol_flags & RTE_MBUF_F_TX_IPV6) != 0);
  CHECK(blank->l2_len == 18);
  CHECK(blank->l3_len == 40);
  CHECK(checksum_of(packet, bytes_of(blank)) == pseudo_header_sum(packet));
  rte_pktmbuf_free(blank);
  rte_mbuf* plain = t.port.sent();
  REQUIRE(plain != nullptr);
  CHECK((plain->ol_flags & RTE_MBUF_F_TX_L4_MASK) == 0);
  rte_pktmbuf_free(plain);
  CHECK(t.port.count(PortCounter::port_checksums_completed) == 0);
}

TEST_CASE("transmit: a driver that lies about chains gets frames in one buffer") {
  for (const bool chains : {false, true}) {
    Transmitting t;
    t.port.queue.can.chains = chains;
    t.port.queue.can.frame_bytes_max = 9000;
    const Packet packet = make_packet({.payload = 1300});
    t.queue(plain_frame(200), 77);
    t.queue_blank(packet, 501);
    t.queue(plain_frame(60));
    t.send();
    const Bytes expected[] = {plain_frame(200), completed(packet), plain_frame(60)};
    for (const Bytes& bytes : expected) {
      rte_mbuf* frame = t.port.sent();
      REQUIRE(frame != nullptr);
      CHECK((frame->nb_segs == 1) == (!chains || bytes.size() == 60));
      CHECK(bytes_of(frame) == bytes);
      rte_pktmbuf_free(frame);
    }
  }
}

TEST_CASE("transmit: a chain that no buffer holds, or no buffer for it, is dropped") {
  Transmitting t;
  t.port.queue.can.chains = false;
  t.port.queue.can.frame_bytes_max = 9000;
  t.queue(plain_frame(2048), 1024);
  t.queue(plain_frame(2049), 1025);
  t.send();
  CHECK(t.port.sent_bytes() == std::vector<Bytes>{plain_frame(2048)});
  CHECK(t.guest.count(QueueCounter::from_guest_drop_no_buffer_frames) == 1);
  t.queue(plain_frame(200), 100);
  t.leave_buffers(0);
  t.send();
  CHECK(t.guest.count(QueueCounter::from_guest_drop_no_buffer_frames) == 2);
  CHECK(t.port.sent_bytes().empty());
}

TEST_CASE("transmit: a port that wakes a thread gets the frames of a stream's turns together") {
  Transmitting t;
  PortQueue* const ports[] = {&t.port.queue};
  t.queue(plain_frame(60, 1));
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 0, 1));  // wakes nobody: at once
  CHECK(t.port.sent_bytes().size() == 1);
  t.port.queue.can.held_buffers_max = 128;
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 0, 1));  // nothing to hold
  t.queue(plain_frame(60, 2));
  CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1));
  t.queue(plain_frame(60, 3));
  CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1));
  CHECK(t.port.sent_bytes().empty());
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 1, 0));  // the stream pauses
  CHECK(t.port.sent_bytes() == std::vector<Bytes>{plain_frame(60, 2), plain_frame(60, 3)});
  CHECK(t.port.count(PortCounter::port_sent_bursts) == 2);
}

TEST_CASE("transmit: a port holds the frames of eight turns at most, each time anew") {
  Transmitting t;
  t.port.queue.can.held_buffers_max = 128;
  PortQueue* const ports[] = {&t.port.queue};
  for (int stream = 0; stream < 2; ++stream) {
    for (uint8_t turn = 0; turn < 8; ++turn) {
      t.queue(plain_frame(60, turn));
      CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1));
    }
    t.queue(plain_frame(60, 8));
    CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 0, 1));
    CHECK(t.port.sent_bytes().size() == 9);
  }
}

TEST_CASE("transmit: a port holds what is in fewer buffers than it may") {
  const uint32_t most = GENERATE(128u, 150u);
  for (const uint32_t buffers : {most - 1, most}) {
    Transmitting t;
    t.port.queue.can.chains = true;
    t.port.queue.can.held_buffers_max = most;
    PortQueue* const ports[] = {&t.port.queue};
    const rte_mbuf* chain = t.queue(plain_frame(1000), 10);
    REQUIRE(chain->nb_segs == 100);
    for (uint32_t i = chain->nb_segs; i < buffers; ++i) t.queue(plain_frame(60));
    CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1) == (buffers < most));
    t.send();
    t.port.sent_bytes();
  }
}

TEST_CASE("transmit: turns that bring a port nothing new do not count, nor prolong its wait") {
  Transmitting t;
  t.port.queue.can.held_buffers_max = 128;
  PortQueue* const ports[] = {&t.port.queue};
  for (uint64_t turn = 0; turn < 8; ++turn) {
    t.queue(plain_frame(60, static_cast<uint8_t>(turn)));
    CHECK(port::transmit(ports, *t.table, *t.pool, turn, turn + 100));
    for (int i = 0; i < 20; ++i) CHECK(port::transmit(ports, *t.table, *t.pool, turn, turn + 200));
  }
  CHECK(port::transmit(ports, *t.table, *t.pool, 106, 300));
  CHECK(t.port.sent_bytes().empty());
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 107, 300));
  CHECK(t.port.sent_bytes().size() == 8);
}

TEST_CASE("transmit: frames of no stream end the wait of those that are") {
  Transmitting t;
  t.port.queue.can.held_buffers_max = 128;
  PortQueue* const ports[] = {&t.port.queue};
  t.queue(plain_frame(60, 1));
  CHECK(port::transmit(ports, *t.table, *t.pool, 0, 100));
  t.queue(plain_frame(60, 2));
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 1, 0));
  CHECK(t.port.sent_bytes() == std::vector<Bytes>{plain_frame(60, 1), plain_frame(60, 2)});
}

TEST_CASE("transmit: a port that does not run holds nothing") {
  Transmitting t;
  t.port.queue.can.held_buffers_max = 128;
  t.port.queue.running = false;
  PortQueue* const ports[] = {&t.port.queue};
  t.queue(plain_frame(60));
  CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 0, 1));
  CHECK(t.port.queue.outgoing.count == 0);
  CHECK(t.guest.count(QueueCounter::from_guest_drop_too_early_frames) == 1);
}

TEST_CASE("transmit: a port holds fewer than 64 frames, whatever a turn adds") {
  for (const size_t added : {1, 256}) {  // 256: the most that a turn sends a port
    Transmitting t;
    t.port.queue.can.held_buffers_max = 1000;
    PortQueue* const ports[] = {&t.port.queue};
    for (uint8_t i = 0; i < 63; ++i) t.queue(plain_frame(60, i));
    CHECK(port::transmit(ports, *t.table, *t.pool, 0, 1));
    for (size_t i = 0; i < added; ++i) t.queue(plain_frame(60));
    CHECK_FALSE(port::transmit(ports, *t.table, *t.pool, 0, 1));
    CHECK(t.port.sent_bytes().size() == 63 + added);
  }
}
