// Which guests get the frames of a multicast group.
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr rte_ether_addr other_group{{0x01, 0x00, 0x5e, 0x00, 0x00, 0x02}};

// Guest 0 sends, 1 has control of its groups, 2 has none.
struct GroupsHost : TestHost {
  GroupsHost() {
    for (int i = 0; i < 3; ++i) add_guest().post_buffers(40);
    controlled().queue->multicast = &controlled().groups;
    controlled().groups.apply(true);
  }
  ~GroupsHost() {
    for (auto& guest : guests) guest->queue->multicast = nullptr;
  }
  TestGuest& controlled() { return *guests[1]; }
  void send(const Bytes& bytes) {
    guests[0]->put_frame(bytes, 1);
    guests[0]->from_guest.push();
    turn();
  }
  void ask(uint8_t type, const rte_ether_addr& group) {
    controlled().put_slot(9, 0, NETTXF_extra_info);
    controlled().put_group(type, group);
    controlled().from_guest.push();
    turn();
  }
  uint64_t filtered() {
    return controlled().count(QueueCounter::to_guest_multicast_filtered_frames);
  }
};

}  // namespace

TEST_CASE("multicast: from a guest and from the port, joined groups only, for who says which") {
  for (const bool from_port : {false, true}) {
    GroupsHost h;
    const auto comes = [&](const rte_ether_addr& to) {
      const Bytes bytes = from_port ? make_frame(to, elsewhere, 60) : h.frame(to, *h.guests[0], 60);
      if (from_port)
        h.ports[0]->feed(bytes), h.turn();
      else
        h.send(bytes);
      CHECK(h.delivered(*h.guests[2]) ==
            std::vector<Bytes>{bytes});  // who asked for nothing gets all
      if (from_port)
        CHECK(h.delivered(*h.guests[0]) == std::vector<Bytes>{bytes});
      else
        CHECK(h.ports[0]->sent_bytes() == std::vector<Bytes>{bytes});
      const std::vector<Bytes> got = h.delivered(h.controlled());
      if (!got.empty()) CHECK(got == std::vector<Bytes>{bytes});
      return got.size();
    };
    CHECK(comes(multicast) == 0);
    CHECK(h.filtered() == 1);
    CHECK(comes(broadcast) == 1);
    h.ask(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, multicast);
    CHECK(comes(multicast) == 1);
    CHECK(comes(other_group) == 0);
    h.controlled().groups.apply(false);
    CHECK(comes(other_group) == 1);
    h.controlled().groups.apply(true);
    h.ask(XEN_NETIF_EXTRA_TYPE_MCAST_DEL, multicast);
    CHECK(comes(multicast) == 0);
    CHECK(h.filtered() == 3);
    CHECK(h.guests[2]->count(QueueCounter::to_guest_multicast_filtered_frames) == 0);
  }
}

TEST_CASE("multicast: what a guest joins counts for frames of the same turn that come behind") {
  GroupsHost h;
  h.controlled().put_slot(9, 0, NETTXF_extra_info);
  h.controlled().put_group(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, multicast);
  h.controlled().from_guest.push();
  const Bytes bytes = make_frame(multicast, elsewhere, 60);
  h.ports[0]->feed(bytes);
  h.turn();
  CHECK(h.delivered(h.controlled()) == std::vector<Bytes>{bytes});
}

TEST_CASE("multicast: its own address is the guest's whatever its groups are") {
  GroupsHost h;
  const Bytes bytes = h.frame(h.controlled().settings.mac, *h.guests[0]);
  h.send(bytes);
  CHECK(h.delivered(h.controlled()) == std::vector<Bytes>{bytes});
}

TEST_CASE("multicast: frames that stand for several are cut for those alone that take the group") {
  for (const bool joined : {false, true}) {
    GroupsHost h;
    if (joined) h.ask(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, multicast);
    h.guests[0]->settings.gso_tcpv4_offered = true;
    Packet packet = make_packet({.payload = 3000});
    std::copy_n(multicast.addr_bytes, 6, packet.bytes.begin());
    put_gso_packet(*h.guests[0], packet, 1000);
    h.guests[0]->from_guest.push();
    h.turn();
    CHECK(h.delivered(*h.guests[2]).size() == 3);
    CHECK(h.delivered(h.controlled()).size() == (joined ? 3 : 0));
    CHECK(h.controlled().count(QueueCounter::to_guest_cut_frames) == joined);
    h.ports[0]->sent_bytes();
  }
}
