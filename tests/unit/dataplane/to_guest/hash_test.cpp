// Frames with their hash to guests that asked for it: the slot of extra info, and what is in it.
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct HashedStages : ToGuestStages {
  const Hashing hashing{hash_settings()};
  HashedStages() { guest.queue->hashing = &hashing; }
};

netif::ExtraInfo hash_extra_of(const netif::ToGuestResponse& answer) {
  netif::ExtraInfo extra;
  std::memcpy(&extra, &answer, sizeof extra);
  return extra;
}

void check_hash_info(const netif::ToGuestResponse& answer, const FrameHash& hash,
                     uint8_t flags = 0) {
  const netif::ExtraInfo extra = hash_extra_of(answer);
  CHECK(extra.type == XEN_NETIF_EXTRA_TYPE_HASH);
  CHECK(extra.flags == flags);
  CHECK(extra.u.hash.type == hash.type);
  CHECK(extra.u.hash.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ);
  for (int byte = 0; byte < 4; ++byte)  // the least significant comes first
    CHECK(extra.u.hash.value[byte] == (hash.value >> 8 * byte & 0xff));
}

}  // namespace

TEST_CASE("to_guest: a frame has its hash behind its first slot, one without has none") {
  HashedStages s;
  s.guest.post_buffers(8, 10);
  const Packet packet = make_packet({.payload = 5000});
  const FrameHash hash = *s.hashing.of(s.queue_frame(packet.bytes));
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 4);
  CHECK(answers[0].id == 10);
  CHECK(answers[0].flags == (NETRXF_extra_info | NETRXF_more_data));
  CHECK(answers[0].status == 4096);
  check_hash_info(answers[1], hash);
  CHECK(answers[2].id == 12);
  CHECK(answers[2].status == static_cast<int>(packet.bytes.size()) - 4096);
  CHECK(answers[2].flags == 0);
  CHECK(answers[3].id == 13);
  CHECK(answers[3].flags == 0);
  CHECK(answers[3].status == 60);
  CHECK(s.guest.buffer(1)[0] == 0xee);  // nothing is copied to the slot of the extra info
  CHECK(std::memcmp(s.guest.buffer(2), &packet.bytes[4096], packet.bytes.size() - 4096) == 0);
  CHECK(s.guest.count(QueueCounter::to_guest_hashed_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 2);
  CHECK(s.guest.count(QueueCounter::to_guest_slots) == 4);
}

TEST_CASE("to_guest: a frame of one page with its hash is two slots, and waits for both") {
  HashedStages s;
  s.guest.post_buffers(1, 10);
  const FrameHash hash = *s.hashing.of(s.queue_frame(make_packet({.udp = true}).bytes));
  s.run();
  CHECK(s.guest.deliveries().empty());
  s.guest.post_buffers(1, 11);
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].flags == NETRXF_extra_info);
  check_hash_info(answers[1], hash);
}

TEST_CASE("to_guest: of a frame that stands for several segmentation comes first, then its hash") {
  for (const bool ipv6 : {false, true}) {
    HashedStages s;
    s.guest.post_buffers(8, 10);
    rte_mbuf* frame = s.queue_frame(make_packet({.ipv6 = ipv6, .payload = 5000}).bytes);
    REQUIRE(mark_segmented(frame, !ipv6, 1400));
    const FrameHash hash = *s.hashing.of(frame);
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == 4);
    CHECK((answers[0].flags & NETRXF_extra_info) != 0);
    const netif::ExtraInfo segmentation = hash_extra_of(answers[1]);
    CHECK(segmentation.type == XEN_NETIF_EXTRA_TYPE_GSO);
    CHECK(segmentation.flags == XEN_NETIF_EXTRA_FLAG_MORE);
    CHECK(segmentation.u.gso.size == 1400);
    check_hash_info(answers[2], hash);
    CHECK(answers[3].id == 13);
    CHECK(s.guest.buffer(3)[0] != 0xee);
    CHECK(s.guest.buffer(2)[0] == 0xee);
  }
}

TEST_CASE("to_guest: segmentation, then the hash, then the headroom, as from Linux") {
  for (const bool large : {false, true}) {
    HashedStages s;
    s.guest.queue->xdp_headroom = 256;
    s.guest.post_buffers(8, 10);
    rte_mbuf* frame = s.queue_frame(make_packet({.payload = 2000}).bytes);
    if (large) REQUIRE(mark_segmented(frame, true, 1400));
    const FrameHash hash = *s.hashing.of(frame);
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == (large ? 4 : 3));
    CHECK(answers[0].offset == 256);
    if (large) CHECK(hash_extra_of(answers[1]).type == XEN_NETIF_EXTRA_TYPE_GSO);
    check_hash_info(answers[large ? 2 : 1], hash, XEN_NETIF_EXTRA_FLAG_MORE);
    const netif::ExtraInfo last = hash_extra_of(answers[large ? 3 : 2]);
    CHECK(last.type == netif::extra_type_xdp);
    CHECK(last.flags == 0);
  }
}

TEST_CASE("to_guest: a hashed frame that cannot be copied is an ERROR in every slot of it") {
  HashedStages s;
  s.guest.post_buffers(1, 10, true);
  s.guest.post_buffers(2, 11);
  s.queue_frame(make_packet({}).bytes);
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 3);
  for (uint16_t i = 0; i < 2; ++i) {
    CHECK(answers[i].id == 10 + i);
    CHECK(answers[i].status == NETIF_RSP_ERROR);
    CHECK(answers[i].flags == 0);
  }
  CHECK(answers[2].status == 60);
  CHECK(s.guest.count(QueueCounter::to_guest_hashed_frames) == 0);
}

TEST_CASE("to_guest: each guest's frames are hashed by its own key, or not at all") {
  HashedStages s;
  TestGuest &other = s.add_guest(), &without = s.add_guest();
  HashSettings settings = hash_settings();
  settings.key[3] ^= 1;
  const Hashing others(settings);
  other.queue->hashing = &others;
  const Bytes bytes = make_packet({}).bytes;
  for (TestGuest* guest : {&s.guest, &other, &without}) {
    guest->post_buffers(2);
    rte_mbuf* frame = s.queue_frame(bytes, *guest);
    frame->hash.rss = 77;  // what its sender said of it
    frame->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
  }
  const FrameHash hash = *s.hashing.of(s.guest.queue->backlog.at(0));
  const FrameHash others_hash = *others.of(other.queue->backlog.at(0));
  CHECK(hash.value != others_hash.value);
  s.run();
  check_hash_info(s.guest.deliveries().at(1), hash);
  check_hash_info(other.deliveries().at(1), others_hash);
  CHECK(without.deliveries().size() == 1);
}
