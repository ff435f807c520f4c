// A guest's slots through a worker: what it puts into its rings, what is in its pages, and what the
// hypervisor, the port and the pool do meanwhile. The script's letters are in do_step().
#include <rte_ethdev.h>
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <deque>

#include "dataplane/worker.hpp"
#include "tests/fuzz/dpdk.hpp"
#include "tests/fuzz/reached.hpp"
#include "tests/fuzz/script.hpp"
#include "tests/fuzz/slot_model.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_port.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr int steps_max = 200;
constexpr uint32_t pages = 4;
constexpr uint32_t port_takes = 31;

// What all runs share, as it takes long to make.
struct Machine {
  std::unique_ptr<FramePool> pool = make_pool(1100);
  TestPort port{*pool, port_takes};
  std::unique_ptr<Grants> grants = Grants::open().value();
  std::unique_ptr<EventChannels> events = EventChannels::open().value();
};

Machine& machine() {
  static Machine made;
  return made;
}

uint16_t refuse_all(void*, rte_mbuf**, uint16_t) {
  return 0;
}

// One run.
class Run {
 public:
  Run() {
    set_port(2, 65535);
    tell(AttachPort{&machine().port.queue});
    for (TestGuest* each : {&guest_, &other_}) {
      each->settings.gso_tcpv4_offered = each->settings.gso_tcpv6_offered = true;
      tell(AttachQueue{each->queue.get()});
    }
    for (uint32_t i = 0; i < pages; ++i) guest_.data_page({});
    set_vlan(0);
    fill_page(0, 100, 0);
  }
  ~Run() {
    xen().failing_domain = -1;
    xen().failing_operations.clear();
    give_buffers_back();
    set_port(2, 65535);  // it runs: what it was fed is taken
    for (int i = 0; i < 3; ++i) worker_.turn();
    for (TestGuest* each : {&guest_, &other_}) tell(DetachQueue{each->queue.get(), false});
    tell(DetachPort{&machine().port.queue});
    machine().port.sent_bytes();
    NETBACK_CHECK(machine().pool->free_buffers() == machine().pool->buffers());
    note_reached();
  }

  void run(fuzz::Script script) {
    char letter;
    for (int i = 0; i < steps_max && script.next(letter); ++i) do_step(letter, script);
    turn();
    turn();  // what was held back is published
    check_answers();
    NETBACK_CHECK(!other_.queue->quarantined);
  }

 private:
  template <class What>
  void tell(const What& what) {
    NETBACK_CHECK(mailbox_.post({.sequence = 0, .what = what}));
    note_published();
    worker_.turn();
    check_answers();  // what was held back may be published now
  }

  void do_step(char letter, fuzz::Script& script) {
    switch (letter) {
      case 's':
        return put_slot(script);  // size, flags, offset, page, how often
      case 'x':
        return put_extra(script);  // type, flags, GSO's size and type
      case 'r':
        return put_raw(script);  // the slot's 12 bytes
      case 't':
        return turns(script.number(1));  // so many
      case 'l':
        return lie(script.number(257));  // so many requests more than were put
      case 'j':
        return lie_to_guest(script.number(257));  // the same of the other ring
      case 'p':
        return fill(script);  // a page: number, packet's shape, bytes
      case 'w':
        return write_byte(script);  // page, offset, value
      case 'm':
        return address(script.number());  // page 0's destination
      case 'v':
        return set_vif(script);  // vif's settings, mtu + 14
      case 'q':
        return set_port(script.number(2), script.number(65535));  // what it can do
      case 'n':
        return set_vlan(script.number());  // of both vifs
      case 'f':
        return fail_copy(script.number());  // the copy after so many
      case 'e':
        xen().failing_domain = guest_.domain;
        return;
      case 'b':
        return leave_buffers(script.number());  // of the pool
      case 'o':
        return post(other_, script.number(1));  // buffers of the other guest
      case 'i':
        return post(guest_, script.number(1));  // and of this one
      case 'g':
        return stage();  // all its pages are mapped from here on
      case 'a':
        return feed(script.number(60));  // a frame of so many bytes from the port
      default:
        return;
    }
  }

  void put_slot(fuzz::Script& script) {
    const auto size = static_cast<uint16_t>(script.number(60));
    const auto flags = static_cast<uint16_t>(script.number());
    const auto offset = static_cast<uint16_t>(script.number());
    const uint32_t page = script.number();
    const uint32_t reference = page < pages ? TestGuest::first_data_reference + 1 + page : page;
    for (uint32_t left = script.number(1) % 65; left > 0 && room(); --left)
      guest_.put_slot(next_id_++, size, flags, offset, reference);
  }
  void put_extra(fuzz::Script& script) {
    netif::ExtraInfo extra{};
    extra.type = static_cast<uint8_t>(script.number());
    extra.flags = static_cast<uint8_t>(script.number());
    extra.u.gso.size = static_cast<uint16_t>(script.number());
    extra.u.gso.type = static_cast<uint8_t>(script.number());
    if (room()) guest_.from_guest.put(extra);
  }
  void put_raw(fuzz::Script& script) {
    uint8_t bytes[12];
    script.bytes(bytes);
    netif::FromGuestRequest slot;
    std::memcpy(&slot, bytes, sizeof slot);
    if (room()) guest_.from_guest.put(slot);
  }
  // After a lie nothing is put: it might be where the backend has not looked yet.
  bool room() { return !lied_ && guest_.from_guest.produced() - answered_ < netif::ring_slots; }

  void turns(uint32_t count) {
    guest_.from_guest.push();
    for (uint32_t i = 0; i < std::min(count, 4u); ++i) turn();
  }
  void lie(uint32_t more) {
    guest_.from_guest.push();
    guest_.from_guest.req_prod() += more;
    lied_ = true;
    turn();
  }
  void lie_to_guest(uint32_t more) {
    guest_.to_guest.req_prod() += more;
    lied_to_guest_ = true;
    turn();
  }

  void fill(fuzz::Script& script) {
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
  void write_byte(fuzz::Script& script) {
    uint8_t* page = guest_.page(script.number() % pages);
    const uint32_t offset = script.number() % netif::page_bytes;
    page[offset] = static_cast<uint8_t>(script.number());
  }
  void address(uint32_t kind) {
    const rte_ether_addr to[] = {
        {{2, 0, 0, 9, 9, 9}}, other_.settings.mac, guest_.settings.mac, {{1, 0, 0x5e, 0, 0, 1}}};
    std::copy_n(to[kind % 4].addr_bytes, 6, guest_.page(0));
  }

  // Bits: locks its address, offers no GSO, the other takes GSO of IPv4, of IPv6, takes no chains.
  void set_vif(fuzz::Script& script) {
    const uint32_t bits = script.number();
    guest_.settings.lock_mac = bits & 1;
    guest_.settings.gso_tcpv4_offered = guest_.settings.gso_tcpv6_offered = (bits & 2) == 0;
    other_.settings.takes_gso_tcpv4 = bits & 4;
    other_.settings.takes_gso_tcpv6 = bits & 8;
    other_.settings.takes_chains = (bits & 16) == 0;
    guest_.settings.frame_bytes_max = script.number(1514);
    other_.settings.frame_bytes_max = script.number(1514);
  }
  // Both vifs are on this VLAN of the port; 0: on none.
  void set_vlan(uint32_t vlan) {
    std::vector<ForwardTable::Vif> vifs;
    for (TestGuest* each : {&guest_, &other_}) {
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
  void stage() {
    if (guest_.queue->staging != nullptr) return;
    for (uint32_t i = 0; i < pages; ++i)
      guest_.stage(TestGuest::first_data_reference + 1 + i, false);
  }
  void feed(uint32_t bytes) {
    if (machine().pool->free_buffers() < 4) return;
    machine().port.feed(
        make_frame(other_.settings.mac, {{2, 0, 0, 9, 9, 9}}, std::clamp(bytes, 1u, 4000u)));
  }

  // What the guest published is the model's from here on; nothing else of the ring may be read.
  void turn() {
    note_published();
    const bool quarantined = guest_.queue->quarantined;
    const Bytes ring = guest_.ring_bytes();
    hide_unpublished(true);
    worker_.turn();
    hide_unpublished(false);
    NETBACK_CHECK(!quarantined || guest_.ring_bytes() == ring);
    check_answers();
    check_deliveries(guest_);
    check_deliveries(other_);
  }
  void note_published() {
    if (guest_.queue->quarantined) return;
    const uint32_t published = guest_.from_guest.req_prod();
    if (published - answered_ > netif::ring_slots) return;
    while (model_.count() < published)
      model_.add(guest_.from_guest.slot(static_cast<uint32_t>(model_.count())).request);
  }
  void hide_unpublished(bool hidden) {
    const uint32_t published = guest_.from_guest.req_prod();
    const bool possible = published - answered_ <= netif::ring_slots;
    const uint32_t first = possible ? published : answered_;
    for (uint32_t at = first; at != answered_ + netif::ring_slots; ++at) {
      auto& slot = guest_.from_guest.slot(at);
      if (hidden)
        ASAN_POISON_MEMORY_REGION(&slot, sizeof slot);
      else
        ASAN_UNPOISON_MEMORY_REGION(&slot, sizeof slot);
    }
  }

  // Each taken slot once, in order, one status a frame; none that the guest did not publish.
  void check_answers() {
    NETBACK_CHECK(guest_.queue->from_guest.unanswered() == 0);
    for (const auto& answer : guest_.answers()) {
      NETBACK_CHECK(answered_ < model_.count());
      const fuzz::SlotModel::Slot& slot = model_.at(answered_++);
      if (slot.begins) status_ = answer.status;
      NETBACK_CHECK(answer.id == (slot.extra ? 0 : slot.id));
      NETBACK_CHECK(answer.status == (slot.extra ? int{NETIF_RSP_NULL} : status_));
    }
    NETBACK_CHECK(status_ == NETIF_RSP_OKAY || status_ == NETIF_RSP_ERROR);
  }
  void check_deliveries(TestGuest& to) {
    if (lied_to_guest_ && &to == &guest_) return;
    bool extra_comes = false;
    for (const auto& delivery : to.deliveries()) {
      if (std::exchange(extra_comes, delivery.flags & NETRXF_extra_info && !extra_comes)) continue;
      NETBACK_CHECK(delivery.status <= int{netif::page_bytes} - delivery.offset);
    }
    NETBACK_CHECK(to.to_guest.consumed() <= to.to_guest.produced());
  }

  void note_reached() {
    for (size_t i = 0; i < queue_counter_info.size(); ++i)
      if (guest_.count(static_cast<QueueCounter>(i)) > 0) fuzz::reach(queue_counter_info[i].name);
    Report report;
    while (mailbox_.next_report(report))
      if (const auto* quarantined = std::get_if<Quarantined>(&report)) {
        NETBACK_CHECK(quarantined->queue == guest_.queue.get());
        fuzz::reach(violation_text[size_t(quarantined->violation)]);
      }
    NETBACK_CHECK(xen().impossible_copies == 0);
  }

  Mailbox mailbox_;
  Worker worker_{{.spin_us = Idle::spin_always},
                 mailbox_,
                 *machine().grants,
                 *machine().events,
                 *machine().pool};
  TestGuest guest_{0, 7}, other_{1, 8};
  std::unique_ptr<ForwardTable> table_;
  std::vector<rte_mbuf*> held_;
  fuzz::SlotModel model_;
  uint32_t answered_ = 0;
  uint16_t next_id_ = 500;
  bool lied_ = false, lied_to_guest_ = false;
  int status_ = NETIF_RSP_OKAY;  // of the frame that is being answered
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_dpdk();
  for (const auto& counter : queue_counter_info)
    if (counter.name.starts_with("from_guest_drop_")) fuzz::expect(counter.name);
  for (const auto& violation : violation_text) fuzz::expect(violation);
  machine();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  xen().reset();
  Run().run(fuzz::Script(data, size));
  return 0;
}
