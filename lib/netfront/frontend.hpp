// A guest's network device in user space: xenstore, grants and event channels through the ordinary
// libraries, so it runs in a lab's domain and in a Linux guest alike. One queue, polled by its
// owner; every buffer is granted once, for as long as the device is connected.
#pragma once

#include "lib/xen/c_api.hpp"

#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/control_channel.hpp"
#include "lib/netfront/front_ring.hpp"
#include "lib/netfront/guest_devices.hpp"

namespace netback {

// What the frontend asks for and says of itself. As Linux's by default.
struct FrontendOptions {
  int devid = 0;
  bool split_event_channels = true;  // if the backend offers it
  bool scatter_gather = true;        // feature-sg: takes frames of several slots
  bool rx_notify = true;             // feature-rx-notify
  bool no_csum_offload = false;
  bool ipv6_csum_offload = true;
  bool gso = true;  // feature-gso-tcpv4 and -tcpv6: takes TCP frames that stand for several
  // A page from the guest is overwritten as soon as it is answered: nobody may need it any more.
  bool spoil_answered = false;
  bool staging = false;  // has the backend keep all pages mapped, if it can
  int timeout_s = 10;    // for the backend to come, and to connect
};

// What extra info says of a frame that stands for several.
struct Segmentation {
  uint16_t segment_bytes = 0;  // payload of each; 0: it is an ordinary frame
  uint8_t type = XEN_NETIF_GSO_TYPE_NONE;
};

class Frontend {
 public:
  // `count` vifs side by side, by devid from that of `options` on: none waits for another. They go
  // the whole way to Connected; errors say which state the backend is in. `devices` outlives them.
  static Result<std::vector<std::unique_ptr<Frontend>>> connect(GuestDevices& devices,
                                                                FrontendOptions options,
                                                                uint32_t count);
  // Closing, Closed, and everything given back.
  ~Frontend();
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;

  const std::string& mac() const { return mac_; }
  // Pages that the backend keeps mapped.
  uint32_t staged_pages() const { return control_ ? control_->staged_pages() : 0; }

  // The backend closes the device, or is gone: seen by wait() and by look_at_backend(), a system
  // call. What is under way may stay unanswered then.
  bool backend_closes() const { return backend_closes_; }
  void look_at_backend();

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
  uint32_t free_slots() const { return from_guest_->free_slots(); }
  // Whether the backend takes TCP frames that stand for several: it offers both versions.
  bool backend_segments() const { return backend_segments_; }
  void push_from_guest();
  // For what no honest guest puts there. kick() notifies the backend whether it asked or not.
  FromGuestFrontRing& from_guest_ring() { return *from_guest_; }
  void kick() { notify(ports_[0]); }
  // Whether the backend's state is Connected yet.
  bool served() const { return backend_state() == netif::XenbusState::connected; }
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
    Segmentation segmentation;  // with NETRXF_extra_info
  };
  // The next response, if one is there; its buffer is the caller's until post().
  bool receive(Received& received);
  uint8_t* to_guest_page(uint32_t buffer) { return pages_[1] + size_t{buffer} * page; }
  void post(uint32_t buffer);
  void push_to_guest();

  // --- events ---
  // Asks both rings for an event with the next answer; true: one is there already.
  bool ask_events();
  // Asks, and waits for an event of the guest's, or for `other_fd` to be readable.
  void wait(int timeout_ms, int other_fd = -1);

 private:
  static constexpr size_t page = netif::page_bytes;
  static constexpr uint32_t slots = netif::ring_slots;

  Frontend(GuestDevices& devices, const FrontendOptions& options);
  Status begin();  // these three in order
  Status offer();
  Status finish();
  Status share();
  Status bind();
  Status open_control();
  Status stage();
  Status publish();
  Segmentation take_segmentation();
  Status wait_for_backend(std::initializer_list<netif::XenbusState> wanted);
  netif::XenbusState backend_state() const;
  void heed_changes();
  void notify(evtchn_port_t port);

  GuestDevices& devices_;
  const FrontendOptions options_;
  std::string path_, backend_, mac_;
  uint32_t backend_id_ = 0;
  void* ring_pages_[2] = {};  // from_guest, to_guest; so with the others
  uint8_t* pages_[2] = {};
  uint32_t ring_refs_[2] = {};
  std::vector<uint32_t> refs_[2];
  evtchn_port_t ports_[2] = {};
  std::unique_ptr<FromGuestFrontRing> from_guest_;
  std::unique_ptr<ToGuestFrontRing> to_guest_;
  std::unique_ptr<ControlChannel> control_;
  std::vector<uint16_t> free_;       // from_guest buffers
  std::vector<uint8_t> under_way_;   // by from_guest buffer: 1 or 0
  std::vector<uint8_t> posted_;      // by to_guest buffer: 1 or 0
  std::vector<uint16_t> posted_at_;  // by to_guest slot: extra info lies over the buffer's id
  uint64_t errors_ = 0, bad_answers_ = 0;
  bool backend_closes_ = false;
  bool backend_segments_ = false;
  uint64_t changes_seen_ = 0;  // of xenstore
};

}  // namespace netback
