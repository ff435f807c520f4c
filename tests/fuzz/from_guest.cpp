// A guest's slots through a worker: what it puts into its rings, what is in its pages, and what the
// hypervisor, the port and the pool do meanwhile. The script's letters are in do_step().
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <deque>

#include "tests/fuzz/dpdk.hpp"
#include "tests/fuzz/from_guest_world.hpp"
#include "tests/fuzz/reached.hpp"
#include "tests/fuzz/script.hpp"
#include "tests/fuzz/slot_model.hpp"

using namespace netback;
using namespace netback::test;
using fuzz::machine, fuzz::pages;

namespace {

constexpr int steps_max = 200;
// One run.
class Run : fuzz::World {
 public:
  ~Run() {
    leave();
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
  void before_command() override { note_published(); }
  void after_command() override { check_answers(); }  // what was held back may be published
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
      case 'c':
        return set_rates(script);  // bytes a second: to the other, ours
      case 'k':
        return part_with_other();  // it leaves, and does not come again
      case 'h':
        return post_bad(script);  // the other's: kind, reference
      case 'o':
        return post(other_, script.number(1));  // buffers of the other guest
      case 'i':
        return post(guest_, script.number(1));  // and of this one
      case 'g':
        return stage();  // all its pages are mapped from here on
      case 'd':
        return stage_buffers();  // and those buffers that the other has posted by now
      case 'u':
        return other_.groups.apply(script.number() & 1);  // the other gets joined groups alone
      case 'y':
        return hash(script.number());  // frames of both vifs, by headers of these types; 0: none
      case 'a':
        return feed(script);  // a frame from the port: bytes, to whom, bytes of its segments
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
      if (extra_comes) {  // its second byte are the flags
        extra_comes = delivery.id >> 8 & XEN_NETIF_EXTRA_FLAG_MORE;
        continue;
      }
      extra_comes = delivery.flags & NETRXF_extra_info;
      NETBACK_CHECK(delivery.status <= int{netif::page_bytes} - delivery.offset);
    }
    NETBACK_CHECK(to.to_guest.consumed() <= to.to_guest.produced());
  }

  void note_reached() {
    for (const TestGuest* each : {&guest_, &other_})
      for (size_t i = 0; i < queue_counter_info.size(); ++i)
        if (each->count(static_cast<QueueCounter>(i)) > 0) fuzz::reach(queue_counter_info[i].name);
    for (size_t i = 0; i < port_counter_info.size(); ++i)
      if (machine().port.count(static_cast<PortCounter>(i)) > 0)
        fuzz::reach(port_counter_info[i].name);
    Report report;
    while (mailbox_.next_report(report))
      if (const auto* quarantined = std::get_if<Quarantined>(&report)) {
        NETBACK_CHECK(quarantined->queue == guest_.queue.get());
        fuzz::reach(violation_text[size_t(quarantined->violation)]);
      }
    NETBACK_CHECK(xen().impossible_copies == 0);
  }

  fuzz::SlotModel model_;
  uint32_t answered_ = 0;
  uint16_t next_id_ = 500;
  bool lied_ = false, lied_to_guest_ = false;
  int status_ = NETIF_RSP_OKAY;  // of the frame that is being answered
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_dpdk();
  // Nothing crosses: there is one worker.
  for (const auto& counter : queue_counter_info)
    if (counter.name.find("_crossing_") == counter.name.npos) fuzz::expect(counter.name);
  for (const auto& counter : port_counter_info)
    if (counter.name.find("_crossing_") == counter.name.npos) fuzz::expect(counter.name);
  for (const auto& violation : violation_text) fuzz::expect(violation);
  machine();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  xen().reset();
  Run().run(fuzz::Script(data, size));
  return 0;
}
