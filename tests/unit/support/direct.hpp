// Two guests of a worker's, of which one sends the other streams of large frames.
#pragma once

#include <rte_cycles.h>

#include <bit>

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

namespace netback::test {

inline constexpr uint16_t segment_bytes = 1400;

// How a frame lies in the sender's pages.
struct Layout {
  size_t first = 66;       // bytes of the first slot
  uint32_t place = 1000;   // of the second slot in its page
  size_t page_end = 4096;  // where further slots end
  uint16_t segment = segment_bytes;
  bool hash = false;   // extra info of one behind the segmentation's
  bool empty = false;  // slots of no bytes between the others
};

inline void put_in_pages(TestGuest& sender, const Packet& made, const Layout& layout = {}) {
  const Bytes& bytes = made.bytes;
  const auto slice = [&](size_t from, size_t to) {
    return Bytes(bytes.begin() + static_cast<long>(from), bytes.begin() + static_cast<long>(to));
  };
  sender.from_guest.put({.gref = sender.data_page(slice(0, layout.first)),
                         .offset = 0,
                         .flags = NETTXF_csum_blank | NETTXF_extra_info | NETTXF_more_data,
                         .id = 1,
                         .size = static_cast<uint16_t>(bytes.size())});
  sender.put_gso(layout.segment, gso_type(made),
                 layout.hash ? XEN_NETIF_EXTRA_FLAG_MORE : uint8_t{0});
  if (layout.hash) sender.put_extra(XEN_NETIF_EXTRA_TYPE_HASH);
  const auto put_empty = [&] {
    sender.from_guest.put({.gref = sender.data_page({}), .flags = NETTXF_more_data, .id = 3});
  };
  uint32_t place = layout.place;
  if (layout.empty) put_empty();
  for (size_t at = layout.first, end; at < bytes.size(); at = end, place = 0) {
    end = std::min(bytes.size(), at + layout.page_end - place);
    if (layout.empty && end == bytes.size()) put_empty();
    sender.from_guest.put(
        {.gref = sender.data_page(slice(at, end), place),
         .offset = static_cast<uint16_t>(place),
         .flags = static_cast<uint16_t>(end < bytes.size() ? NETTXF_more_data : 0),
         .id = 2,
         .size = static_cast<uint16_t>(end - at)});
  }
  sender.from_guest.push();
}

inline Bytes whole(const Packet& packet) {
  return with_pseudo_header_sum(packet);
}

struct DirectHost : TestHost {
  TestGuest& sender = add_guest();
  TestGuest& receiver = add_guest();
  uint8_t seed = 1;
  RateBudget rate;

  explicit DirectHost(uint32_t large_buffers = 64, uint32_t posted = 150)
      : TestHost({.large_buffers = large_buffers}) {
    sender.settings.gso_tcpv4_offered = sender.settings.gso_tcpv6_offered = true;
    receiver.settings.takes_gso_tcpv4 = receiver.settings.takes_gso_tcpv6 = true;
    receiver.post_buffers(posted);
  }

  Packet packet(PacketShape shape = {.payload = 30'000}) {
    shape.tcp_flags = all_tcp_flags;
    shape.seed = ++seed;
    Packet made = make_packet(shape);
    std::copy_n(receiver.settings.mac.addr_bytes, 6, made.bytes.begin());
    std::copy_n(sender.settings.mac.addr_bytes, 6, made.bytes.begin() + 6);
    return made;
  }

  void put(const Packet& made, const Layout& layout = {}) { put_in_pages(sender, made, layout); }
  // What the receiver is to get of them.
  std::vector<Bytes> put_several(int count) {
    std::vector<Bytes> expected;
    while (count-- > 0) {
      const Packet made = packet();
      put(made);
      expected.push_back(whole(made));
    }
    return expected;
  }

  // The first frame of a stream goes as all frames do.
  void start() {
    put(packet());
    turn();
    REQUIRE(received().size() == 1);
    REQUIRE(direct() == 0);
    xen().operations_per_call.clear();
    xen().copy_calls = 0;
  }

  uint64_t direct() const { return sender.count(QueueCounter::from_guest_direct_frames); }

  // What the receiver got since the last call, extra info left out; REQUIREs what must hold of it.
  std::vector<Bytes> received() {
    std::vector<Bytes> all;
    uint32_t slot = receiver.to_guest.consumed(), extras = 0;
    bool more = false;
    for (const auto& response : receiver.deliveries()) {
      const uint32_t buffer = receiver.posted_buffer(slot++);
      if (extras > 0) {
        const auto extra = std::bit_cast<netif::ExtraInfo>(response);
        if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO) CHECK(extra.u.gso.size == segment_bytes);
        extras = (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) != 0;
        continue;
      }
      REQUIRE(response.status > 0);
      if (!more) all.emplace_back();
      const uint8_t* bytes = receiver.buffer(buffer) + response.offset;
      all.back().insert(all.back().end(), bytes, bytes + response.status);
      more = response.flags & NETRXF_more_data;
      extras = (response.flags & NETRXF_extra_info) != 0;
    }
    return all;
  }

  // All slots are answered OKAY, extra info as such.
  void check_answers() {
    for (const auto& answer : sender.answers())
      CHECK((answer.status == NETIF_RSP_OKAY || answer.status == NETIF_RSP_NULL));
    CHECK(sender.queue->from_guest.unanswered() == 0);
    CHECK(sender.queue->from_guest.available() == 0u);
  }
};

}  // namespace netback::test
