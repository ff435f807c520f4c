// Short frames: at which line of the guest's page they begin.
#include "dataplane/to_guest/batch.hpp"
#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// Where each answer says that its bytes begin.
std::vector<int> offsets(const std::vector<netif::ToGuestResponse>& answers) {
  std::vector<int> all;
  for (const auto& answer : answers) all.push_back(answer.offset);
  return all;
}

}  // namespace

TEST_CASE("spread: short frames begin at the line of their buffer's number, modulo 32") {
  ToGuestStages s;
  s.guest.post_buffers(70, 3);
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 70; ++i) {
    frames.push_back(plain_frame(60 + i));
    s.queue_frame(frames.back());
  }
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 70);
  for (uint32_t i = 0; i < 70; ++i) {
    CHECK(answers[i].offset == (3 + i) % 32 * 64);
    CHECK(s.guest.bytes_in(i, answers[i]) == frames[i]);
  }
}

TEST_CASE("spread: the longest that begins at any line ends with the page") {
  ToGuestStages s(64);
  const Bytes longest = plain_frame(2112), longer = plain_frame(2113);
  for (const Bytes* frame : {&longest, &longer}) {
    s.guest.post_buffers(1, 31);
    rte_mbuf* mbuf;
    REQUIRE(s.pool->take_large(&mbuf, 1));
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame->size())), frame->data(),
                frame->size());
    s.queue_mbuf(mbuf, s.guest);
  }
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(offsets(answers) == std::vector<int>{1984, 0});
  CHECK(s.guest.bytes_in(0, answers[0]) == longest);
  CHECK(s.guest.bytes_in(1, answers[1]) == longer);
}

TEST_CASE("spread: for a guest whose driver looks at no offsets frames begin with the page") {
  ToGuestStages s;
  s.guest.settings.takes_blank_ipv6 = false;
  s.guest.post_buffers(3, 5);
  for (int i = 0; i < 3; ++i) s.queue_frame(plain_frame(60));
  s.run();
  CHECK(offsets(s.guest.deliveries()) == std::vector<int>{0, 0, 0});
}

TEST_CASE("spread: frames with a hash, with headroom, of several slots are where they were") {
  const Hashing hashing{hash_settings()};
  ToGuestStages s;
  s.guest.post_buffers(6, 1);
  s.queue_frame(plain_frame(5000));
  s.run();
  s.guest.queue->hashing = &hashing;
  s.queue_frame(make_packet({}).bytes);
  s.run();
  s.guest.queue->hashing = nullptr;
  s.guest.queue->xdp_headroom = 256;
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 6);
  CHECK(answers[0].offset == 0);
  CHECK(answers[1].offset == 0);
  CHECK(answers[2].offset == 0);
  CHECK(answers[4].offset == 256);
}
