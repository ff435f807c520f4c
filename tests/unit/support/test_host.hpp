// A worker with ports and guests, driven turn by turn: frames in at one end, out at another. At the
// end everything is detached and the pool is whole.
#pragma once

#include <catch2/catch.hpp>

#include <map>

#include "dataplane/worker.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_port.hpp"

namespace netback::test {

struct HostOptions {
  uint32_t spin_us = Idle::spin_always;
  uint32_t gather_us = 0;
  uint32_t port_takes = 1023;
  uint32_t ports = 1;
  uint32_t large_buffers = 0;
};

class TestHost : public Bench {
 public:
  explicit TestHost(HostOptions options = {});
  ~TestHost();

  // A guest on a port, attached and in the table. Its vif's index is its number in `guests`.
  TestGuest& add_guest(uint32_t port = 0, bool filtered = true, uint32_t ring_start = 0);
  // The same on a VLAN of the first port.
  TestGuest& add_guest_on_vlan(uint16_t vlan, bool filtered = true);
  // The same, of the address of another: a guest migrating onto its own host.
  TestGuest& add_guest_with_mac(const rte_ether_addr& mac, uint32_t port = 0, uint16_t vlan = 0);
  // The same on a VLAN of the first port or, 0, on that itself; isolated.
  TestGuest& add_isolated(uint16_t vlan = 0, bool filtered = true);
  TestGuest& add_isolated_with_mac(const rte_ether_addr& mac);
  // One queue more of a vif, with rings of its own.
  TestGuest& add_queue(TestGuest& first);
  // Makes and uses a table of everything but these vifs.
  void use_table(const std::vector<uint16_t>& without = {});

  void turn(uint32_t turns = 1);
  template <class What>
  uint32_t post(const What& what) {
    REQUIRE(mailbox.post({.sequence = ++sequence_, .what = what}));
    return sequence_;
  }
  // Reports so far, acks and quarantines apart.
  void read_reports();
  bool acked(uint32_t sequence);
  void detach(TestGuest& guest, bool drain = false);

  // A frame from one of them to another address.
  Bytes frame(const rte_ether_addr& to, const TestGuest& from, size_t bytes = 100,
              uint8_t seed = 1) const {
    return make_frame(to, from.settings.mac, bytes, seed);
  }
  // All bytes delivered to a guest since the last call, frame by frame, read from its buffers.
  std::vector<Bytes> delivered(TestGuest& guest);

  Mailbox mailbox;
  std::vector<std::unique_ptr<TestPort>> ports;
  std::vector<std::unique_ptr<TestGuest>> guests;
  Worker worker;
  std::vector<uint32_t> acks;
  std::vector<Quarantined> quarantines;

 private:
  struct Placement {
    uint16_t port;
    bool filtered;
    rte_ether_addr mac;
    uint16_t vlan = 0;
    bool isolated = false;
  };
  TestGuest& attach(const Placement& placement, uint32_t ring_start);
  std::vector<Placement> placements_;
  std::map<uint16_t, std::vector<GuestQueue*>> siblings_;  // by vif: those of several queues
  std::unique_ptr<ForwardTable> table_;
  uint32_t sequence_ = 0;
};

constexpr rte_ether_addr broadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr rte_ether_addr multicast{{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}};
constexpr rte_ether_addr elsewhere{{2, 0, 0, 9, 9, 9}};

}  // namespace netback::test
