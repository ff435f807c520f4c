// A guest's ways to xenstore, grants and event channels: its vifs share them.
#pragma once

#include "lib/xen/c_api.hpp"

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include "lib/base/result.hpp"
#include "lib/xen/store.hpp"

namespace netback {

class GuestDevices {
 public:
  static Result<std::unique_ptr<GuestDevices>> open();
  ~GuestDevices();
  GuestDevices(const GuestDevices&) = delete;
  GuestDevices& operator=(const GuestDevices&) = delete;

  Store& store() { return *store_; }
  xengntshr_handle* sharing() { return sharing_; }
  xenevtchn_handle* events() { return events_; }

  // From now on, for all vifs: a domain may have 128 watches. Again is harmless.
  Status watch(const std::string& path);
  // Takes the watch events that wait.
  void look_at_store();
  // How often there were some: which vif they are about, each finds out by reading.
  uint64_t store_changes() const { return store_changes_; }

  // Waits for an event of any vif, and takes it, for a change in xenstore, or for `other_fd` to be
  // readable; not longer than the timeout, which is not negative. False: no event came.
  bool wait(std::chrono::nanoseconds timeout, int other_fd = -1);

 private:
  explicit GuestDevices(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  std::unique_ptr<Store> store_;
  xengntshr_handle* sharing_ = nullptr;
  xenevtchn_handle* events_ = nullptr;
  std::set<std::string> watched_;
  uint64_t store_changes_ = 0;
};

}  // namespace netback
