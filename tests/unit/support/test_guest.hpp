// A guest of the unit tests: two rings and data pages on the heap, granted through FakeXen, and the
// GuestQueue that control would have made of them. It lies when told to.
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/guest_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/netfront/front_ring.hpp"
#include "tests/unit/support/fake_xen.hpp"

namespace netback::test {

struct alignas(4096) Page {
  uint8_t bytes[4096] = {};
};

using Bytes = std::vector<uint8_t>;

class TestGuest {
 public:
  static constexpr uint32_t first_data_reference = 1000;    // pages of frames from the guest
  static constexpr uint32_t first_buffer_reference = 5000;  // buffers for frames to the guest

  // `start`: the index at which both rings begin (UINT32_MAX - 1 makes them wrap).
  explicit TestGuest(uint16_t vif, uint16_t domain = 7, uint32_t start = 0)
      : domain(domain),
        start(start),
        from_guest(from_guest_page_->bytes, start),
        to_guest(to_guest_page_->bytes, start),
        queue(new GuestQueue{.vif = vif,
                             .domain = domain,
                             .from_guest_port = 10u + vif * 2u,
                             .to_guest_port = 11u + vif * 2u,
                             .from_guest = FromGuestRing::attach(from_guest_page_->bytes).value(),
                             .to_guest = ToGuestRing::attach(to_guest_page_->bytes).value(),
                             .settings = &settings}) {
    settings.mac = {{2, 0, 0, 0, 0, static_cast<uint8_t>(vif)}};
    settings.takes_chains = true;
    settings.takes_blank_ipv6 = true;
    queue->placed = true;  // of stages without a worker; a worker looks it up in its table
    FakeXen::instance().grant(domain, first_data_reference, common_page_.bytes);
  }

  TestGuest(const TestGuest&) = delete;

  // A page of the guest's with these bytes at `offset`; its reference.
  uint32_t data_page(const Bytes& bytes, uint32_t offset = 0) {
    pages_.push_back(std::make_unique<Page>());
    std::copy(bytes.begin(), bytes.end(), pages_.back()->bytes + offset);
    const uint32_t reference = first_data_reference + static_cast<uint32_t>(pages_.size());
    FakeXen::instance().grant(domain, reference, pages_.back()->bytes);
    return reference;
  }

  // One single-slot frame, put and not yet pushed.
  void put_frame(const Bytes& frame, uint16_t id, uint16_t flags = 0) {
    from_guest.put({.gref = data_page(frame),
                    .offset = 0,
                    .flags = flags,
                    .id = id,
                    .size = static_cast<uint16_t>(frame.size())});
  }

  // A request as it is, with what a lie needs in it.
  void put_slot(uint16_t id, uint16_t size, uint16_t flags = 0, uint16_t offset = 0,
                uint32_t gref = first_data_reference) {
    from_guest.put({.gref = gref, .offset = offset, .flags = flags, .id = id, .size = size});
  }
  void put_extra(uint8_t type, uint8_t flags = 0) {
    netif::ExtraInfo extra{};
    extra.type = type;
    extra.flags = flags;
    from_guest.put(extra);
  }
  // A request to amend the vif's groups: ADD or DEL, with other extra info behind it or not.
  void put_group(uint8_t type, const rte_ether_addr& group, uint8_t flags = 0) {
    netif::ExtraInfo extra{};
    extra.type = type;
    extra.flags = flags;
    std::copy_n(group.addr_bytes, 6, extra.u.mcast.addr);
    from_guest.put(extra);
  }
  void put_gso(uint16_t mss, uint8_t type = XEN_NETIF_GSO_TYPE_TCPV4, uint8_t flags = 0) {
    netif::ExtraInfo extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = flags;
    extra.u.gso.size = mss;
    extra.u.gso.type = type;
    from_guest.put(extra);
  }

  // A frame over several slots of the given sizes (their sum is the frame's), ids from `id` on.
  void put_chain(const Bytes& frame, const std::vector<uint16_t>& sizes, uint16_t id,
                 uint16_t first_flags = 0) {
    size_t at = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Bytes piece(frame.begin() + at, frame.begin() + at + sizes[i]);
      at += sizes[i];
      const bool more = i + 1 < sizes.size();
      from_guest.put({.gref = data_page(piece),
                      .offset = 0,
                      .flags = static_cast<uint16_t>((i == 0 ? first_flags : 0) |
                                                     (more ? NETTXF_more_data : 0)),
                      .id = static_cast<uint16_t>(id + i),
                      .size = i == 0 ? static_cast<uint16_t>(frame.size()) : sizes[i]});
    }
  }

  // Posts `count` buffers, ids from `id` on, and pushes them. Their references follow one another.
  void post_buffers(uint32_t count, uint16_t id = 0, bool read_only = false) {
    for (uint32_t i = 0; i < count; ++i) {
      buffers_.push_back(std::make_unique<Page>());
      std::memset(buffers_.back()->bytes, 0xee, sizeof(Page));
      const uint32_t reference =
          first_buffer_reference + static_cast<uint32_t>(buffers_.size()) - 1;
      FakeXen::instance().grant(domain, reference, buffers_.back()->bytes, read_only);
      to_guest.put({.id = static_cast<uint16_t>(id + i), .pad = 0, .gref = reference});
    }
    to_guest.push();
  }
  // Index of the buffer that was posted at a position of the ring.
  uint32_t posted_buffer(uint32_t position) const { return position - start; }
  const uint8_t* buffer(uint32_t index) const { return buffers_.at(index)->bytes; }
  // What an answer says is in it.
  Bytes bytes_in(uint32_t index, const netif::ToGuestResponse& answer) const {
    const uint8_t* begin = buffer(index) + answer.offset;
    return {begin, begin + answer.status};
  }

  // Its page of this reference is mapped from here on, as after an ADD_GREF_MAPPING.
  void stage(uint32_t reference, bool writable = true) {
    uint8_t* page = FakeXen::instance().grants.at({domain, reference}).page;
    staged_.push_back({.bytes = page, .reference = reference, .writable = writable});
    staging_ = std::make_unique<StagingTable>(staged_);
    queue->staging = staging_.get();
  }
  // A page that data_page() made, counted from 0 on.
  uint8_t* page(uint32_t index) { return pages_.at(index)->bytes; }

  // Everything answered so far on the from_guest ring.
  std::vector<netif::FromGuestResponse> answers() {
    std::vector<netif::FromGuestResponse> all;
    while (auto response = from_guest.get()) all.push_back(*response);
    return all;
  }
  std::vector<netif::ToGuestResponse> deliveries() {
    std::vector<netif::ToGuestResponse> all;
    while (auto response = to_guest.get()) all.push_back(*response);
    return all;
  }
  // All slots of the from_guest ring as they are now: what a quarantined ring must still be later.
  Bytes ring_bytes() const { return {from_guest_page_->bytes, from_guest_page_->bytes + 4096}; }
  Bytes to_guest_ring_bytes() const {
    return {to_guest_page_->bytes, to_guest_page_->bytes + 4096};
  }
  uint64_t count(QueueCounter counter) const { return queue->counters.read(counter); }

  MulticastGroups groups;  // the vif's, once queue->multicast is it
  const uint16_t domain;
  const uint32_t start;  // the rings' first index
  VifSettings settings;

 private:
  std::unique_ptr<Page> from_guest_page_ = std::make_unique<Page>();
  std::unique_ptr<Page> to_guest_page_ = std::make_unique<Page>();
  Page common_page_;  // what put_slot() refers to
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<std::unique_ptr<Page>> buffers_;
  std::vector<StagingTable::Page> staged_;
  std::unique_ptr<StagingTable> staging_;

 public:
  FromGuestFrontRing from_guest;
  ToGuestFrontRing to_guest;
  std::unique_ptr<GuestQueue> queue;
};

// Makes these the queues of one vif, the first one's. The list outlives them.
void make_siblings(const std::vector<GuestQueue*>& queues);

// `bytes` bytes: an Ethernet header from `from` to `to`, then a pattern that depends on `seed`.
Bytes make_frame(const rte_ether_addr& to, const rte_ether_addr& from, size_t bytes,
                 uint8_t seed = 1);
// The bytes of a frame, whole chain.
Bytes bytes_of(const rte_mbuf* frame);
// A frame in buffers of `pool`, `piece` bytes of it in each (0: as many as fit).
rte_mbuf* make_mbuf(FramePool& pool, const Bytes& bytes, uint32_t piece = 0);
// A pool of its own for each test, so that a leak shows: after the test all buffers are back.
// In one large buffer.
rte_mbuf* make_large_mbuf(FramePool& pool, const Bytes& bytes);
std::unique_ptr<FramePool> make_pool(uint32_t buffers = 1300, uint32_t large_buffers = 0);

}  // namespace netback::test
