// The world of the target from-guest: a guest and another, their vifs, a port, and what a script
// does to them besides slots in rings.
#pragma once

#include <rte_cycles.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/worker.hpp"
#include "tests/fuzz/script.hpp"
#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_port.hpp"

namespace netback::fuzz {

using namespace netback::test;

constexpr uint32_t pages = 4;
constexpr uint32_t port_takes = 31;

// What all runs share, as it takes long to make.
struct Machine {
  std::unique_ptr<FramePool> pool = make_pool(1100, 64);
  TestPort port{*pool, port_takes};
  std::unique_ptr<Grants> grants = Grants::open().value();
  std::unique_ptr<EventChannels> events = EventChannels::open().value();
};

inline Machine& machine() {
  static Machine made;
  return made;
}

inline uint16_t refuse_all(void*, rte_mbuf**, uint16_t) {
  return 0;
}

// Of one run.
class World {
 protected:
  World() {
    set_port(2, 65535);
    tell(AttachPort{&machine().port.queue});
    for (TestGuest* each : {&guest_, &other_}) {
      each->settings.gso_tcpv4_offered = each->settings.gso_tcpv6_offered = true;
      each->queue->multicast = &each->groups;
      tell(AttachQueue{each->queue.get()});
    }
    for (uint32_t i = 0; i < pages; ++i) guest_.data_page({});
    set_vlan(0);
    fill_page(0, 100, 0);
  }
  virtual ~World() = default;
  World(const World&) = delete;

  // All that is left behind is as it was.
  void leave() {
    xen().failing_domain = -1;
    xen().failing_operations.clear();
    give_buffers_back();
    set_port(2, 65535);  // it runs: what it was fed is taken
    for (int i = 0; i < 3; ++i) worker_.turn();
    for (TestGuest* each : {&guest_, &other_})
      if (each == &guest_ || other_is_here_) tell(DetachQueue{each->queue.get(), false});
    tell(DetachPort{&machine().port.queue});
    machine().port.sent_bytes();
    NETBACK_CHECK(machine().pool->free_buffers() == machine().pool->buffers());
    NETBACK_CHECK(machine().pool->free_large_buffers() == machine().pool->large_buffers());
  }

  template <class What>
  void tell(const What& what) {
    NETBACK_CHECK(mailbox_.post({.sequence = 0, .what = what}));
    before_command();
    worker_.turn();
    after_command();
  }

  void fill(Script& script) {
    const uint32_t page = script.number() % pages;
    const uint32_t shape = script.number();
    fill_page(page, script.number(100), shape);
  }
  // Bits of a shape: IPv6, UDP, a VLAN tag, options or extensions, TCP options.
  void fill_page(uint32_t page, uint32_t payload, uint32_t shape) {
    PacketShape wanted{.ipv6 = (shape & 1) != 0,
                       .udp = (shape & 2) != 0,
                       .tagged = (shape & 4) != 0,
                       .payload = payload % 3800};
    if (shape & 8) wanted.options = 8;
    if (wanted.ipv6 && wanted.options > 0) wanted.options = 0, wanted.extensions = {8, 16};
    if (shape & 16) wanted.tcp_options = 12;
    const Packet packet = make_packet(wanted);
    std::copy(packet.bytes.begin(), packet.bytes.end(), guest_.page(page));
  }
  void write_byte(Script& script) {
    uint8_t* page = guest_.page(script.number() % pages);
    const uint32_t offset = script.number() % netif::page_bytes;
    page[offset] = static_cast<uint8_t>(script.number());
  }
  void address(uint32_t kind) { std::copy_n(whose(kind).addr_bytes, 6, guest_.page(0)); }
  // Nobody's, the other's, this one's, a group's.
  rte_ether_addr whose(uint32_t kind) const {
    const rte_ether_addr all[] = {
        {{2, 0, 0, 9, 9, 9}}, other_.settings.mac, guest_.settings.mac, {{1, 0, 0x5e, 0, 0, 1}}};
    return all[kind % 4];
  }

  // Bits: locks its address, offers no GSO, the other takes GSO of IPv4, of IPv6, takes no chains,
  // has no time to take its backlog; locks its IP addresses.
  void set_vif(Script& script) {
    const uint32_t bits = script.number();
    guest_.settings.lock_mac = bits & 1;
    guest_.settings.addresses = bits & 64 ? addresses_ : nullptr;
    guest_.settings.gso_tcpv4_offered = guest_.settings.gso_tcpv6_offered = (bits & 2) == 0;
    other_.settings.takes_gso_tcpv4 = bits & 4;
    other_.settings.takes_gso_tcpv6 = bits & 8;
    other_.settings.takes_chains = (bits & 16) == 0;
    other_.settings.stall_ms = bits & 32 ? 0 : limits::stall_ms;
    guest_.settings.frame_bytes_max = script.number(1514);
    other_.settings.frame_bytes_max = script.number(1514);
  }
  // 0: no limit. What an interval has is there at first.
  void set_rates(Script& script) {
    const uint32_t to_other = script.number(), from_this = script.number();
    const std::pair<uint32_t, std::pair<RateBudget*, std::atomic<RateBudget*>*>> all[] = {
        {to_other, {&to_other_rate_, &other_.queue->to_guest_rate}},
        {from_this, {&from_this_rate_, &guest_.queue->from_guest_rate}}};
    for (const auto& [bytes, where] : all) {
      if (bytes > 0) where.first->set({.bytes = bytes, .interval_us = 1'000'000}, rte_get_tsc_hz());
      where.second->store(bytes > 0 ? where.first : nullptr);
    }
  }
  // As control does it: no table leads to it any more, then the worker lets it go.
  void part_with_other() {
    if (!std::exchange(other_is_here_, false)) return;
    set_vlan(guest_.settings.vlan);
    tell(DetachQueue{other_.queue.get(), false});
    tell(UseTable{table_.get()});
    NETBACK_CHECK(other_.queue->backlog.count() == 0);
  }
  // Both vifs are on this VLAN of the port; 0: on none.
  void set_vlan(uint32_t vlan) {
    std::vector<ForwardTable::Vif> vifs;
    for (TestGuest* each : {&guest_, &other_}) {
      if (each == &other_ && !other_is_here_) continue;
      each->settings.vlan = static_cast<uint16_t>(vlan % 4095);
      vifs.push_back({.queue = each->queue.get(),
                      .port = machine().port.queue.port,
                      .mac = each->settings.mac,
                      .vlan = each->settings.vlan});
    }
    auto table = std::move(ForwardTable::make({&machine().port.queue}, vifs)).value();
    tell(UseTable{table.get()});
    table_ = std::move(table);
  }
  // Bits: checksums, chains, segments, IPv4's own checksum, is down, its driver refuses.
  void set_port(uint32_t bits, uint32_t frame_bytes_max) {
    PortQueue& queue = machine().port.queue;
    queue.can = {.checksum = (bits & 1) != 0,
                 .chains = (bits & 2) != 0,
                 .segments = (bits & 4) != 0,
                 .ipv4_checksum = (bits & 8) != 0,
                 .frame_bytes_max = frame_bytes_max};
    queue.running = (bits & 16) == 0;
    static const auto prepare = rte_eth_fp_ops[queue.port].tx_pkt_prepare;
    rte_eth_fp_ops[queue.port].tx_pkt_prepare = bits & 32 ? refuse_all : prepare;
  }
  static void fail_copy(uint32_t after) {
    xen().failing_operations.insert(xen().copy_operations + after);
  }
  void leave_buffers(uint32_t count) {
    give_buffers_back();
    while (machine().pool->free_buffers() > count)
      held_.push_back(rte_pktmbuf_alloc(machine().pool->mempool()));
  }
  void give_buffers_back() {
    for (rte_mbuf* buffer : held_) rte_pktmbuf_free(buffer);
    held_.clear();
  }
  static void post(TestGuest& to, uint32_t count) {
    const uint32_t room = std::min(to.to_guest.free_slots(), 8u);
    to.post_buffers(std::min(count, room));
  }
  // Buffers that cannot be written: read-only, of a reserved reference, of one that was not
  // granted.
  void post_bad(Script& script) {
    const uint32_t kind = script.number(), reference = script.number();
    if (other_.to_guest.free_slots() == 0) return;
    if (kind % 3 == 0) return other_.post_buffers(1, 0, true);
    const uint32_t reserved = reference % 8, absent = 4'000'000 + reference % 8;
    other_.to_guest.put({.id = 0, .pad = 0, .gref = kind % 3 == 1 ? reserved : absent});
    other_.to_guest.push();
  }
  void stage() {
    if (guest_.queue->staging != nullptr) return;
    for (uint32_t i = 0; i < pages; ++i)
      guest_.stage(TestGuest::first_data_reference + 1 + i, false);
  }
  void stage_buffers() {
    for (uint32_t i = 0; i < 16; ++i) {
      const uint32_t reference = TestGuest::first_buffer_reference + i;
      const auto found = xen().grants.find({other_.domain, reference});
      if (found != xen().grants.end()) other_.stage(reference, !found->second.read_only);
    }
  }
  void hash(uint32_t types) {
    const HashSettings settings = hash_settings(types & HashSettings::all_types);
    auto fresh = settings.on() ? std::make_unique<const Hashing>(settings) : nullptr;
    for (TestGuest* each : {&guest_, &other_})
      if (each == &guest_ || other_is_here_) tell(UseHashing{each->queue.get(), fresh.get()});
    hashing_ = std::move(fresh);
  }
  // `segment_bytes`: a TCP packet with so much payload that its driver says stands for several.
  void feed(Script& script) {
    const uint32_t bytes = std::clamp(script.number(60), 1u, 4000u), to = script.number();
    const uint32_t segment_bytes = script.number();
    if (machine().pool->free_buffers() < 4) return;
    const rte_ether_addr target = to == 0 ? other_.settings.mac : whose(to - 1);
    Bytes frame = make_frame(target, {{2, 0, 0, 8, 8, 8}}, bytes);
    if (segment_bytes > 0) {
      frame = make_packet({.payload = bytes}).bytes;
      std::copy_n(target.addr_bytes, 6, frame.begin());
    }
    rte_mbuf* mbuf = make_mbuf(*machine().pool, frame);
    if (segment_bytes > 0) {
      mbuf->ol_flags |= RTE_MBUF_F_RX_LRO;
      mbuf->packet_type = RTE_PTYPE_L3_IPV4;
      mbuf->tso_segsz = static_cast<uint16_t>(segment_bytes);
    }
    machine().port.feed(mbuf);
  }

  // A command makes the worker turn.
  virtual void before_command() {}
  virtual void after_command() {}

  Mailbox mailbox_;
  Worker worker_{{.spin_us = Idle::spin_always},
                 mailbox_,
                 *machine().grants,
                 *machine().events,
                 *machine().pool};
  TestGuest guest_{0, 7}, other_{1, 8};

 private:
  bool other_is_here_ = true;
  RateBudget to_other_rate_, from_this_rate_;
  // Half of all that there are, of both kinds.
  static constexpr AddressPrefix half_[] = {{.ipv6 = false, .bits = 1, .address = {}},
                                            {.ipv6 = true, .bits = 1, .address = {}}};
  const std::shared_ptr<const SourceAddresses> addresses_ =
      std::make_shared<SourceAddresses>(half_, guest_.settings.mac);
  std::unique_ptr<const Hashing> hashing_;
  std::unique_ptr<ForwardTable> table_;
  std::vector<rte_mbuf*> held_;
};

}  // namespace netback::fuzz
