// A vif's control ring (netif.h "Control Ring"), served by the control thread: the guest's requests
// to keep pages of it mapped, and to hash its frames. All else is answered NOT_SUPPORTED.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "control/handshake.hpp"
#include "control/hash_control.hpp"
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
    GuestQueue& queue;                          // the vif's first; outlives this, with its siblings
    std::string file;                           // Staging's of the first; others' are like it
    std::string hash_file;                      // HashControl's
    std::function<void(uint32_t slot)> broken;  // the guest claims more requests than there can be
  };

  // Maps the ring and binds its channel. With `resume` the pages that another process of ours had
  // mapped are mapped again, and what the guest set of hashing holds.
  static Result<std::unique_ptr<ControlRing>> open(Place place, const Agreement& agreement,
                                                   bool resume);
  // Only when the worker has acked all that was posted for the queue.
  ~ControlRing();
  ControlRing(const ControlRing&) = delete;
  ControlRing& operator=(const ControlRing&) = delete;

  // Nothing is posted for the queue from here on.
  void stop();
  // The guest is gone, or begins anew: nothing of this is for a later process.
  void forget() {
    for (auto& staged : staged_) staged.staging->forget();
    hash_.forget();
  }
  // Its channel had an event, and is masked.
  void handle_event();
  size_t staged_pages() const;  // of all queues
  const HashSettings& hash_settings() const { return hash_.settings(); }

 private:
  using Request = netif::ControlRequest;
  struct Staged {
    std::unique_ptr<Staging> staging;
    std::shared_ptr<const StagingTable> table;  // as posted last
  };

  explicit ControlRing(Place place)
      : place_(std::move(place)),
        queues_(place_.queue.siblings.begin(), place_.queue.siblings.end()),
        hash_(std::max<uint32_t>(1, static_cast<uint32_t>(queues_.size())), place_.hash_file) {
    if (queues_.empty()) queues_.push_back(&place_.queue);
    make_staging();
  }
  void make_staging();
  void restore_staging();
  Status attach(const Agreement& agreement);
  void serve();
  void serve_later(Loop::Clock::duration delay);
  void handle(const Request& request);
  void handle_pages(const Request& request);
  void add_pages(const Request& request, uint32_t queue);
  void remove_pages(const Request& request, uint32_t queue);
  void handle_hash(const Request& request);
  uint32_t set_key(const Request& request);
  uint32_t set_mapping(const Request& request);
  bool copy(CopyPlan::Direction direction, uint32_t reference, std::span<std::byte> bytes);
  void use_staging(uint32_t queue, const std::function<void()>& done);
  void use_hashing(const std::function<void()>& done);
  void hand_over(const std::vector<WorkerLink::What>& uses, std::shared_ptr<const void> replaced,
                 const std::function<void()>& done);
  std::vector<WorkerLink::What> hashing_for_each() const;
  void answer(const Request& request, uint32_t status, uint32_t data = 0);

  Place place_;
  std::vector<GuestQueue*> queues_;  // of the vif, at least one
  std::vector<Staged> staged_;       // of each queue
  HashControl hash_;
  std::shared_ptr<const Hashing> hashing_;  // as posted last
  MappedPage page_;
  BoundPort port_;
  std::optional<ControlBackRing> ring_;
  std::optional<Loop::TimerId> timer_;  // at due_
  Loop::Clock::time_point due_;
  bool waits_for_worker_ = false;  // with the request that was taken last
  bool stopped_ = false;
};

}  // namespace netback
