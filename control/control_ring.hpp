// A vif's control ring (netif.h "Control Ring"), served by the control thread: the guest's requests
// to keep pages of it mapped. All else is answered NOT_SUPPORTED.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "control/handshake.hpp"
#include "control/loop.hpp"
#include "control/staging.hpp"
#include "control/worker_link.hpp"
#include "lib/base/result.hpp"
#include "lib/xen/evtchn.hpp"
#include "lib/xen/grants.hpp"
#include "lib/xen/ring.hpp"

namespace netback {

class ControlRing;

// The event channels of all control rings: which ring an event is for.
class ControlEvents {
 public:
  ControlEvents(Loop& loop, EventChannels& events) : loop_(loop), events_(events) {}
  ~ControlEvents() { stop(); }
  ControlEvents(const ControlEvents&) = delete;
  ControlEvents& operator=(const ControlEvents&) = delete;

  Status start();
  void stop();

  Loop& loop() { return loop_; }
  EventChannels& channels() { return events_; }
  void add(evtchn_port_t port, ControlRing& ring) { rings_[port] = &ring; }
  void remove(evtchn_port_t port) { rings_.erase(port); }

 private:
  void handle();

  Loop& loop_;
  EventChannels& events_;
  std::map<evtchn_port_t, ControlRing*> rings_;
  bool started_ = false;
};

class ControlRing {
 public:
  struct Place {
    Grants& grants;  // control's
    ControlEvents& events;
    WorkerLink& worker;
    GuestQueue& queue;                          // outlives this
    std::string file;                           // Staging's
    std::function<void(uint32_t slot)> broken;  // the guest claims more requests than there can be
  };

  // Maps the ring and binds its channel. With `resume` the pages that another process of ours had
  // mapped are mapped again.
  static Result<std::unique_ptr<ControlRing>> open(Place place, const Agreement& agreement,
                                                   bool resume);
  // Only when the worker has acked all that was posted for the queue.
  ~ControlRing();
  ControlRing(const ControlRing&) = delete;
  ControlRing& operator=(const ControlRing&) = delete;

  // Nothing is posted for the queue from here on.
  void stop();
  // The guest is gone, or begins anew: nothing of this is for a later process.
  void forget() { staging_.forget(); }
  // Its channel had an event, and is masked.
  void handle_event();
  size_t staged_pages() const { return staging_.count(); }

 private:
  using Request = netif::ControlRequest;

  explicit ControlRing(Place place)
      : place_(std::move(place)), staging_(place_.grants, place_.queue.domain, place_.file) {}
  Status attach(const Agreement& agreement);
  void serve();
  void serve_later(Loop::Clock::duration delay);
  void handle(const Request& request);
  void add_pages(const Request& request);
  void remove_pages(const Request& request);
  bool copy_list(CopyPlan::Direction direction, const Request& request,
                 std::span<netif::StaticGrant> list);
  void use_staging(std::function<void()> done);
  void answer(const Request& request, uint32_t status, uint32_t data = 0);

  Place place_;
  Staging staging_;
  std::shared_ptr<const StagingTable> table_;  // as posted last
  MappedPage page_;
  BoundPort port_;
  std::optional<ControlBackRing> ring_;
  std::optional<Loop::TimerId> timer_;  // at due_
  Loop::Clock::time_point due_;
  bool waits_for_worker_ = false;  // with the request that was taken last
  bool stopped_ = false;
};

}  // namespace netback
