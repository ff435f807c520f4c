// Two vifs of one host, one of which does not behave: what the other one has of it is nothing.
#pragma once

#include <algorithm>

#include "tests/unit/support/test_host.hpp"

namespace netback::test {

using Frames = std::vector<Bytes>;

struct TwoVifs : TestHost {
  TestGuest& liar;
  TestGuest& honest;

  // `start`: the index at which the liar's rings begin.
  TwoVifs(bool liar_first, uint32_t start)
      : liar(liar_first ? add_guest(0, true, start) : *(add_guest(), &add_guest(0, true, start))),
        honest(liar_first ? add_guest() : *guests[0]) {
    honest.post_buffers(10);
    liar.post_buffers(10);
  }

  // Frames to the port, all different, with ids from `first_id` on; what should come out of it.
  Frames put_frames(TestGuest& guest, uint16_t first_id, uint16_t count) {
    Frames frames;
    for (uint16_t i = 0; i < count; ++i) {
      const auto id = static_cast<uint16_t>(first_id + i);
      frames.push_back(frame(elsewhere, guest, 100u + id, static_cast<uint8_t>(id)));
      guest.put_frame(frames.back(), id);
    }
    guest.from_guest.push();
    return frames;
  }

  // Those frames that a guest sent, in order.
  static Frames of(const TestGuest& guest, const Frames& frames) {
    Frames its;
    for (const Bytes& bytes : frames)
      if (std::equal(bytes.begin() + 6, bytes.begin() + 12, guest.settings.mac.addr_bytes))
        its.push_back(bytes);
    return its;
  }
};

// Each answer of these is OKAY, and they are of the ids from 0 on, each once, in order.
inline void check_all_okay(const std::vector<netif::FromGuestResponse>& answers, uint16_t count) {
  REQUIRE(answers.size() == count);
  for (uint16_t i = 0; i < count; ++i) {
    CHECK(answers[i].id == i);
    CHECK(answers[i].status == NETIF_RSP_OKAY);
  }
}

}  // namespace netback::test
