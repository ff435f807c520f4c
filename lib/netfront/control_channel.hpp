// A guest's control ring: one request at a time, waited for.
#pragma once

#include "lib/xen/c_api.hpp"

#include <memory>
#include <span>

#include "lib/base/result.hpp"
#include "lib/netfront/front_ring.hpp"
#include "lib/netfront/guest_devices.hpp"

namespace netback {

class ControlChannel {
 public:
  static Result<std::unique_ptr<ControlChannel>> open(GuestDevices& devices, uint32_t backend_id,
                                                      int timeout_s);
  ~ControlChannel();
  ControlChannel(const ControlChannel&) = delete;
  ControlChannel& operator=(const ControlChannel&) = delete;

  uint32_t ring_reference() const { return references_[0]; }
  uint32_t list_reference() const { return references_[1]; }
  evtchn_port_t port() const { return port_; }

  // What the request is, is the caller's: lies included. No answer in time is an error.
  Result<netif::ControlResponse> ask(uint16_t type, uint32_t data0, uint32_t data1, uint32_t data2);
  // ADD_GREF_MAPPING or DEL_GREF_MAPPING of a list that fits a page, for a queue by number.
  // Statuses come back in `list`.
  Result<netif::ControlResponse> ask(uint16_t type, uint32_t queue,
                                     std::span<netif::StaticGrant> list);
  // Has the backend map these for a queue; a backend that cannot keep so many leaves it.
  Status stage(uint32_t queue, std::span<netif::StaticGrant> list);
  uint32_t staged_pages() const { return staged_pages_; }
  // Has the backend hash frames by these types (XEN_NETIF_CTRL_HASH_TYPE_*) and this key.
  // `mapping`: by which queue each hash comes, modulo its size; empty: the hash modulo the number
  // of queues.
  Status hash(uint32_t types, std::span<const uint8_t> key, std::span<const uint32_t> mapping);
  // The page that list_reference() grants, which requests may name.
  std::span<uint8_t> list_page() { return {pages_ + netif::page_bytes, netif::page_bytes}; }

 private:
  ControlChannel(GuestDevices& devices, int timeout_s) : devices_(devices), timeout_s_(timeout_s) {}

  GuestDevices& devices_;
  const int timeout_s_;
  uint8_t* pages_ = nullptr;     // the ring, and behind it the list
  uint32_t references_[2] = {};  // of the two
  evtchn_port_t port_ = 0;
  std::unique_ptr<ControlFrontRing> ring_;
  uint16_t next_id_ = 0;
  uint32_t staged_pages_ = 0;
};

}  // namespace netback
