// A guest's network device in user space: xenstore, grants and event channels through the ordinary
// libraries, so it runs in a lab's domain and in a Linux guest alike.
#pragma once

#include "lib/xen/c_api.hpp"

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/control_channel.hpp"
#include "lib/netfront/front_queue.hpp"
#include "lib/netfront/guest_devices.hpp"

namespace netback {

// What the frontend asks for and says of itself. As Linux's by default.
struct FrontendOptions {
  int devid = 0;
  uint32_t queues = 1;               // fewer if the backend offers fewer; at least one
  bool split_event_channels = true;  // if the backend offers it
  bool scatter_gather = true;        // feature-sg: takes frames of several slots
  bool rx_notify = true;             // feature-rx-notify; without it nobody is told of buffers
  uint32_t posted_buffers = netif::ring_slots;  // for frames to the guest, 256 at most
  bool no_csum_offload = false;
  bool ipv6_csum_offload = true;
  bool gso = true;  // feature-gso-tcpv4 and -tcpv6: takes TCP frames that stand for several
  bool multicast_control = false;  // request-multicast-control: only frames of groups it joins
  // A page from the guest is overwritten as soon as it is answered: nobody may need it any more.
  bool spoil_answered = false;
  uint16_t xdp_headroom = 0;      // bytes to be left free in each page of a frame to the guest
  bool staging = false;           // has the backend keep all pages mapped, if it can
  bool control_ring = false;      // opens one, if the backend offers it, for more than staging
  uint32_t hash_types = 0;        // XEN_NETIF_CTRL_HASH_TYPE_*: has frames come with these hashes
  std::vector<uint8_t> hash_key;  // by this key
  std::vector<uint32_t> hash_mapping;  // by this queue, each of so many hashes
  int timeout_s = 10;                  // for the backend to come, and to connect
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
  ControlChannel* control() { return control_.get(); }  // null: none was asked for, or offered

  // The backend closes the device, or is gone: seen by wait() and by look_at_backend(), a system
  // call. What is under way may stay unanswered then.
  bool backend_closes() const { return backend_closes_; }
  void look_at_backend();

  // Whether the backend takes TCP frames that stand for several: it offers both versions.
  bool backend_segments() const { return backend_segments_; }
  // Whether the backend's state is Connected yet.
  bool served() const { return backend_state() == netif::XenbusState::connected; }

  // By number, at least one.
  const std::vector<std::unique_ptr<FrontQueue>>& queues() const { return queues_; }

  // Has all queues ask for events, and waits for an event of the guest's, or for `other_fd` to be
  // readable.
  void wait(std::chrono::nanoseconds timeout, int other_fd = -1);

 private:
  Frontend(GuestDevices& devices, const FrontendOptions& options);
  Status begin();  // these three in order
  Status offer();
  Status finish();
  Status open_queues();
  Status open_control();
  Status stage();
  Status clear_keys(StoreTransaction& transaction) const;
  Status publish();
  Status wait_for_backend(std::initializer_list<netif::XenbusState> wanted);
  netif::XenbusState backend_state() const;
  void heed_changes();

  GuestDevices& devices_;
  const FrontendOptions options_;
  std::string path_, backend_, mac_;
  uint32_t backend_id_ = 0;
  std::vector<std::unique_ptr<FrontQueue>> queues_;
  std::unique_ptr<ControlChannel> control_;
  bool backend_closes_ = false;
  bool backend_segments_ = false;
  uint64_t changes_seen_ = 0;  // of xenstore
};

}  // namespace netback
