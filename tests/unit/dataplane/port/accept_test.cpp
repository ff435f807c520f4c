// What a port receives.
#include "dataplane/port/accept.hpp"

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_port.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Accepting : Bench {
  explicit Accepting(uint32_t large_buffers = 0) : Bench(large_buffers) {}
  TestPort port{*pool};
  FrameBatch frames;

  ~Accepting() { release(); }
  void release() {
    for (uint32_t i = 0; i < frames.count; ++i) rte_pktmbuf_free(frames.mbufs[i]);
    frames.count = 0;
  }
  void accept() {
    PortQueue* const ports[] = {&port.queue};
    port::accept(ports, frames, *pool);
  }
  rte_mbuf* accept_one(rte_mbuf* frame) {
    port.feed(frame);
    release();
    accept();
    REQUIRE(frames.count == 1);
    return frames.mbufs[0];
  }
};

}  // namespace

TEST_CASE("accept: nothing there, nothing counted") {
  Accepting a;
  a.accept();
  CHECK(a.frames.count == 0);
  CHECK(a.port.count(PortCounter::port_received_frames) == 0);
}

TEST_CASE("accept: frames come in order, with their port, counted") {
  Accepting a;
  a.port.feed(plain_frame(60, 1));
  a.port.feed(plain_frame(70, 2));
  a.accept();
  REQUIRE(a.frames.count == 2);
  CHECK(bytes_of(a.frames.mbufs[0]) == plain_frame(60, 1));
  CHECK(bytes_of(a.frames.mbufs[1]) == plain_frame(70, 2));
  CHECK(a.frames.mbufs[0]->port == a.port.queue.port);
  CHECK_FALSE(from_vif(a.frames.mbufs[0]));
  CHECK(a.port.count(PortCounter::port_received_frames) == 2);
  CHECK(a.port.count(PortCounter::port_received_bytes) == 130);
}

TEST_CASE("accept: a device that came back by another of DPDK's numbers is the same port") {
  Accepting a;
  a.port.queue.port = static_cast<uint16_t>(a.port.queue.device + 1);
  a.port.feed(plain_frame(60));
  a.accept();
  REQUIRE(a.frames.count == 1);
  CHECK(a.frames.mbufs[0]->port == a.port.queue.port);
}

TEST_CASE("accept: a frame shorter than a header goes nowhere") {  // seed S6
  Accepting a;
  a.port.feed(plain_frame(13));
  a.port.feed(plain_frame(14));
  a.port.feed(plain_frame(60), 13);  // the header in two pieces
  a.accept();
  CHECK(a.frames.count == 1);
  CHECK(a.port.count(PortCounter::port_drop_short_frames) == 2);
  CHECK(a.port.count(PortCounter::port_received_frames) == 3);
}

TEST_CASE("accept: four bursts at most while they are whole, and only with room for one") {
  Accepting a;
  for (int i = 0; i < 140; ++i) a.port.feed(plain_frame(60));
  a.accept();
  CHECK(a.frames.count == 128);
  a.accept();
  CHECK(a.frames.count == 140);
  a.frames.count = 225;  // room for 31
  for (int i = 0; i < 10; ++i) a.port.feed(plain_frame(60));
  a.accept();
  CHECK(a.frames.count == 225);
  a.frames.count = 224;
  a.accept();
  CHECK(a.frames.count == 234);
  for (uint32_t i = 224; i < 234; ++i) rte_pktmbuf_free(a.frames.mbufs[i]);
  a.frames.count = 140;
}

TEST_CASE("accept: ports take turns, burst by burst") {
  Accepting a;
  TestPort other(*a.pool);
  for (int i = 0; i < 70; ++i) {
    a.port.feed(plain_frame(60));
    other.feed(plain_frame(60));
  }
  PortQueue* const ports[] = {&a.port.queue, &other.queue};
  a.frames.count = 256 - 3 * 32;
  port::accept(ports, a.frames, *a.pool);
  REQUIRE(a.frames.count == 256);
  for (uint32_t i = 160; i < 256; ++i) {
    CHECK(a.frames.mbufs[i]->port == (i < 192 || i >= 224 ? a.port : other).queue.port);
    rte_pktmbuf_free(a.frames.mbufs[i]);
  }
  a.frames.count = 0;
}

TEST_CASE("accept: a port that is not running is left alone") {  // seed S12
  Accepting a;
  a.port.feed(plain_frame(60));
  a.port.queue.running = false;
  a.accept();
  CHECK(a.frames.count == 0);
  a.port.queue.running = true;
  a.accept();
  CHECK(a.frames.count == 1);
}

TEST_CASE("accept: keeps what the driver says of the checksum and nothing else") {  // seed S4
  Accepting a;
  for (const uint64_t state : std::initializer_list<uint64_t>{
           RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_BAD, RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN,
           RTE_MBUF_F_RX_L4_CKSUM_NONE}) {
    rte_mbuf* frame = make_mbuf(*a.pool, make_packet({}).bytes);
    frame->ol_flags = state | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_LRO;
    CHECK(a.accept_one(frame)->ol_flags == state);
  }
}

TEST_CASE("accept: a blank checksum is believed only where there is one") {
  Accepting a;
  rte_mbuf* udp = make_mbuf(*a.pool, make_packet({.ipv6 = true, .udp = true}).bytes);
  udp->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
  rte_mbuf* accepted = a.accept_one(udp);
  CHECK(checksum_blank(accepted));
  CHECK(accepted->l2_len == 14);
  CHECK(accepted->l3_len == 40);
  rte_mbuf* other = make_mbuf(*a.pool, plain_frame(60));
  other->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
  CHECK(checksum_state(a.accept_one(other)) == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
}

TEST_CASE("accept: what the driver did not cut stays one frame that stands for several") {
  for (const bool ipv6 : {false, true}) {
    for (const uint64_t state :
         {uint64_t{RTE_MBUF_F_RX_L4_CKSUM_NONE}, uint64_t{RTE_MBUF_F_RX_L4_CKSUM_GOOD}}) {
      Accepting a;
      const Packet packet = make_packet({.ipv6 = ipv6, .payload = 20'000});
      rte_mbuf* frame = make_mbuf(*a.pool, packet.bytes);
      frame->ol_flags = state | RTE_MBUF_F_RX_LRO;
      frame->tso_segsz = 1400;
      frame = a.accept_one(frame);
      CHECK(segmented(frame));
      CHECK(checksum_blank(frame));
      CHECK(frame->tso_segsz == 1400);
      CHECK(header_bytes(frame) == packet.l4 + 20);
      CHECK(bytes_of(frame) == with_pseudo_header_sum(packet));
      CHECK(a.port.count(PortCounter::port_received_gso_frames) == 1);
    }
  }
}

TEST_CASE("accept: a frame that cannot stand for several is none, whatever the driver says") {
  const Bytes frames[] = {plain_frame(3000), make_packet({.udp = true, .payload = 3000}).bytes,
                          make_packet({.payload = 30'000}).bytes};
  for (const Bytes& bytes : frames) {
    Accepting a;
    rte_mbuf* frame = make_mbuf(*a.pool, bytes);
    frame->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_LRO;
    frame->tso_segsz = 100;  // of the third that would be 300 segments
    CHECK(a.accept_one(frame)->ol_flags == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
    CHECK(a.port.count(PortCounter::port_received_gso_frames) == 0);
  }
}

// IP's own length has 16 bits: in a longer one it would be set to what is left of it.
TEST_CASE("accept: a frame longer than IP can say stands for none") {
  for (const bool ipv6 : {false, true}) {
    for (const size_t l3_bytes : {65'535u, 65'536u, 65'576u}) {
      Accepting a;
      Packet packet = make_packet({.ipv6 = ipv6, .payload = l3_bytes - (ipv6 ? 60 : 40)});
      const size_t at = packet.l3 + (ipv6 ? 4 : 2);
      packet.bytes[at] = packet.bytes[at + 1] = 0x7f;  // what is behind would be padding
      rte_mbuf* frame = make_mbuf(*a.pool, packet.bytes);
      frame->ol_flags = RTE_MBUF_F_RX_LRO;
      frame->tso_segsz = 1400;
      CHECK(segmented(a.accept_one(frame)) == (l3_bytes == 65'535));
    }
  }
}

TEST_CASE("accept: the lengths of a frame that stands for several must not contradict each other") {
  Accepting a;
  Packet packet = make_packet({.payload = 3000});
  packet.bytes[packet.l3 + 2] = 0xff;
  rte_mbuf* frame = make_mbuf(*a.pool, packet.bytes);
  frame->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO;
  frame->tso_segsz = 1400;
  CHECK(a.accept_one(frame)->ol_flags == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
}

TEST_CASE("accept: frames stand for as many as can be cut, and for several only if they say so") {
  const auto accepts = [](size_t payload, uint16_t segment_bytes, uint64_t flags) {
    Accepting a;
    rte_mbuf* frame = make_mbuf(*a.pool, make_packet({.payload = payload}).bytes);
    frame->ol_flags = flags;
    frame->tso_segsz = segment_bytes;
    frame = a.accept_one(frame);
    CHECK(a.port.count(PortCounter::port_received_gso_frames) == segmented(frame));
    return frame->ol_flags;
  };
  const uint64_t blank = RTE_MBUF_F_RX_L4_CKSUM_NONE;
  const uint64_t large = RTE_MBUF_F_RX_LRO;
  CHECK(accepts(limits::segments_max, 1, large) == (blank | large));
  CHECK(accepts(limits::segments_max + 1, 1, large) == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
  CHECK(accepts(1000, 1000, large) == blank);  // one is one
  CHECK(accepts(3000, 1000, blank) == blank);  // a word of the mbuf's last life
}

// A driver that lends its own memory says so in ol_flags: forgetting it would lose that memory.
TEST_CASE("accept: memory that the driver lent is given back") {
  static uint8_t memory[2048];
  static int given_back;
  given_back = 0;
  static rte_mbuf_ext_shared_info shared;
  shared.free_cb = [](void*, void*) { ++given_back; };
  {
    Accepting a;
    rte_mbuf* frame = rte_pktmbuf_alloc(a.pool->mempool());
    rte_mbuf_ext_refcnt_set(&shared, 1);
    rte_pktmbuf_attach_extbuf(frame, memory, RTE_BAD_IOVA, sizeof memory, &shared);
    std::memcpy(rte_pktmbuf_append(frame, 60), plain_frame(60).data(), 60);
    CHECK(RTE_MBUF_HAS_EXTBUF(a.accept_one(frame)));
  }
  CHECK(given_back == 1);
}

TEST_CASE("accept: a buffer that shares another's memory is still known as such") {
  Accepting a;
  rte_mbuf* owner = make_mbuf(*a.pool, plain_frame(60));
  rte_mbuf* frame = rte_pktmbuf_alloc(a.pool->mempool());
  rte_pktmbuf_attach(frame, owner);
  rte_pktmbuf_free(owner);
  CHECK(RTE_MBUF_CLONED(a.accept_one(frame)));
}

TEST_CASE("accept: what needs no large buffer is copied out of one, with what the driver said") {
  Accepting a(64);
  a.port.queue.can.large_buffers = true;
  for (const size_t bytes : {60, 2048, 2049}) {
    const Packet packet = make_packet({.payload = bytes - 54});
    rte_mbuf* arrived = make_large_mbuf(*a.pool, packet.bytes);
    arrived->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
    const rte_mbuf* frame = a.accept_one(arrived);
    CHECK(FramePool::in_large(frame) == (bytes > 2048));
    CHECK((frame == arrived) == (bytes > 2048));
    CHECK(bytes_of(frame) == packet.bytes);
    CHECK(checksum_blank(frame));
    CHECK(frame->port == a.port.queue.port);
    CHECK(a.pool->free_large_buffers() == (bytes > 2048 ? 63 : 64));
  }
}

TEST_CASE("accept: without a short buffer a frame stays in its large one") {
  Accepting a(64);
  a.port.queue.can.large_buffers = true;
  rte_mbuf* arrived = make_large_mbuf(*a.pool, plain_frame(60));
  a.leave_buffers(0);
  CHECK(a.accept_one(arrived) == arrived);
  CHECK(bytes_of(arrived) == plain_frame(60));
}

TEST_CASE("accept: of a port without large buffers nothing is copied") {
  Accepting a;
  rte_mbuf* arrived = make_mbuf(*a.pool, plain_frame(60));
  CHECK(a.accept_one(arrived) == arrived);
}
