// One queue of a guest's vif: its two rings, polled by its owner, with the buffers of each. Every
// buffer is granted once, for as long as the vif is connected.
#pragma once

#include "lib/xen/c_api.hpp"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/front_ring.hpp"
#include "lib/netfront/guest_devices.hpp"

namespace netback {

class Frontend;

// What extra info says of a frame that stands for several.
struct Segmentation {
  uint16_t segment_bytes = 0;  // payload of each; 0: it is an ordinary frame
  uint8_t type = XEN_NETIF_GSO_TYPE_NONE;
};

// What extra info says of a frame's hash.
struct HashInfo {
  uint8_t type = 0;       // _XEN_NETIF_CTRL_HASH_TYPE_*
  uint8_t algorithm = 0;  // XEN_NETIF_CTRL_HASH_ALGORITHM_*; NONE: there was no hash
  uint32_t value = 0;
};

class FrontQueue {
 public:
  struct Options {
    uint32_t backend_id;
    bool split_event_channels;
    bool spoil_answered;
    bool rx_notify;
    uint32_t posted_buffers;  // FrontendOptions has all of these
  };
  // Its pages are granted, its rings begin, its to_guest buffers are posted. Both outlive it.
  static Result<std::unique_ptr<FrontQueue>> open(Frontend& frontend, GuestDevices& devices,
                                                  const Options& options);
  ~FrontQueue();
  FrontQueue(const FrontQueue&) = delete;
  FrontQueue& operator=(const FrontQueue&) = delete;

  // The vif that it is of.
  Frontend& frontend() { return frontend_; }
  const Frontend& frontend() const { return frontend_; }
  // What xenstore says of it, without the queue's directory.
  std::vector<std::pair<const char*, uint32_t>> keys() const;
  // References of all its buffers: of frames from the guest, which are granted read-only, and of
  // the others.
  const std::vector<uint32_t>& from_guest_references() const { return refs_[0]; }
  const std::vector<uint32_t>& to_guest_references() const { return refs_[1]; }

  // --- from the guest ---
  // A free buffer's number, or -1. Buffers are pages; frames lie at their start.
  int take_buffer();
  size_t free_buffers() const { return free_.size(); }
  void give_buffer(uint32_t buffer) { free_.push_back(static_cast<uint16_t>(buffer)); }
  // Buffers put and not yet answered.
  uint32_t under_way() const { return from_guest_->produced() - from_guest_->consumed(); }
  uint8_t* from_guest_page(uint32_t buffer) { return pages_[0] + size_t{buffer} * page; }
  // Puts a slot; the backend sees it after push_from_guest().
  void put(uint32_t buffer, uint32_t bytes, uint16_t flags = 0);
  // Puts a slot of extra info, behind a first slot with NETTXF_extra_info: of that frame.
  void put_segmentation(const Segmentation& segmentation);
  void put_hash(const HashInfo& hash);
  // Puts a request to join or to leave a multicast group (XEN_NETIF_EXTRA_TYPE_MCAST_ADD or _DEL):
  // two slots. False: there are none, or no buffer is free.
  bool put_group(uint8_t type, const std::array<uint8_t, 6>& group);
  uint32_t free_slots() const { return from_guest_->free_slots(); }
  void push_from_guest();
  // For what no honest guest puts there. kick() notifies the backend whether it asked or not.
  FromGuestFrontRing& from_guest_ring() { return *from_guest_; }
  void kick() { notify(ports_[0]); }
  // Answers so far: their buffers are free again. Counts what was not answered OKAY.
  uint32_t reap();
  uint64_t errors() const { return errors_; }
  // Of ids that were not under way, or not posted.
  uint64_t bad_answers() const { return bad_answers_; }

  // --- to the guest ---
  struct Received {
    uint32_t buffer;
    uint32_t offset;
    int32_t bytes;              // negative: a status
    uint16_t flags;             // NETRXF_*
    Segmentation segmentation;  // with NETRXF_extra_info; so the hash
    HashInfo hash;
    uint16_t headroom;  // the same: what the backend says that it left free
  };
  // The next response, if one is there; its buffer is the caller's until post().
  bool receive(Received& received);
  const uint8_t* bytes_of(const Received& received) const {
    return pages_[1] + size_t{received.buffer} * page + received.offset;
  }
  void post(uint32_t buffer);
  void push_to_guest();

  // --- events ---
  // Asks both rings for an event with the next answer; true: one is there already.
  bool ask_events();

 private:
  static constexpr size_t page = netif::page_bytes;
  static constexpr uint32_t slots = netif::ring_slots;

  FrontQueue(Frontend& frontend, GuestDevices& devices, const Options& options);
  Status share();
  Status bind();
  void begin_rings();
  void take_extra_info(Received& received);
  void notify(evtchn_port_t port);

  Frontend& frontend_;
  GuestDevices& devices_;
  const Options options_;
  void* ring_pages_[2] = {};  // from_guest, to_guest; so with the others
  uint8_t* pages_[2] = {};
  uint32_t ring_refs_[2] = {};
  std::vector<uint32_t> refs_[2];
  evtchn_port_t ports_[2] = {};
  std::unique_ptr<FromGuestFrontRing> from_guest_;
  std::unique_ptr<ToGuestFrontRing> to_guest_;
  std::vector<uint16_t> free_;       // from_guest buffers
  std::vector<uint8_t> under_way_;   // by from_guest buffer: 1 or 0
  std::vector<uint8_t> posted_;      // by to_guest buffer: 1 or 0
  std::vector<uint16_t> posted_at_;  // by to_guest slot: extra info lies over the buffer's id
  uint64_t errors_ = 0, bad_answers_ = 0;
};

}  // namespace netback
