// One vif: gathers what xenstore says, asks the state table what to do, does it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/connection.hpp"
#include "control/control_ring.hpp"
#include "control/filter_control.hpp"
#include "control/forwarding.hpp"
#include "control/loop.hpp"
#include "control/multicast_control.hpp"
#include "control/vif.hpp"
#include "control/vif_plan.hpp"
#include "control/worker_link.hpp"
#include "lib/xen/store.hpp"

namespace netback {

// One worker as control has it.
struct VifWorker {
  unsigned cpu;
  EventChannels& events;  // the worker's
  WorkerLink& link;
  size_t queues = 0;  // of vifs, that it has
};

// What all vifs share; it outlives them.
struct VifWorld {
  Loop& loop;
  Store& store;
  Grants& grants;  // control's: ring pages
  ControlEvents& control_events;
  Forwarding& forwarding;
  FilterControl& filters;
  std::vector<VifWorker> workers;  // by number
  PlanSources plans;
  std::string state_directory = {};             // what a restart finds again; empty: nothing
  std::function<void(const VifId&)> wake = {};  // have advance() called soon
};

class VifSession {
 public:
  VifSession(VifWorld& world, const VifId& id, std::string directory, uint16_t index);
  ~VifSession();
  VifSession(const VifSession&) = delete;
  VifSession& operator=(const VifSession&) = delete;

  // Whether a change of this node of our directory is reason to advance(); "": of all of it.
  static bool depends_on(std::string_view key);
  // Something may have changed. Does what is to be done now; what takes a worker's ack goes on by
  // itself.
  void advance();
  // Its directory is gone and nothing is held for it: it may be destroyed.
  bool over() const { return over_ && !busy_ && !connection_; }

  void quarantine(const Quarantined& report);
  // Ends the wait after a quarantine, and looks at the vif's settings again.
  void rearm();
  // Detaches the queues, their backlogs delivered, and writes nothing; `done` is called once the
  // guest's pages are given back. Nothing else happens to this vif any more (design 8).
  void drain(std::function<void()> done);
  // Whether xenstored has the vif's domain. True: that is news, and it died or came back.
  bool note_domain(bool introduced);
  // Xenstore's `rate` may have changed: looked at by the next advance().
  void note_rate() { rate_changed_ = true; }
  // Writes `carrier` when it is not what the port's link is.
  void show_link();

  const VifId& id() const { return id_; }
  uint16_t index() const { return index_; }
  const VifIdentity& identity() const { return identity_; }
  const VifFacts& facts() const { return facts_; }  // as last gathered
  const std::optional<VifPlan>& plan() const { return plan_; }
  const Connection* connection() const { return connection_.get(); }
  // The cpu of the worker that has its queues; while it is connected.
  unsigned cpu() const { return world_.workers[connection_->queue().worker].cpu; }
  const ControlRing* control_ring() const { return control_ring_.get(); }
  const MulticastControl* multicast() const { return multicast_.get(); }
  const std::string& error() const { return error_; }
  std::string_view state() const;
  // How long the next InitWait waits yet; zero: not at all.
  Loop::Clock::duration rearm_wait() const;

 private:
  void gather();
  void gather_own();
  void make_plan();
  bool plan_is_due() const;
  VifStep next_step() const;
  bool perform(const VifStep& step);
  ReadKey read_frontend() const;
  void reconfigure();
  void set_headroom(uint16_t headroom);
  Status connect(bool resume);
  uint16_t choose_worker() const;
  Status connect(const Agreement& agreement, bool resume);
  void disconnect(bool drain);
  void detached(bool drain);
  void watch_multicast(bool requested, bool resume);
  void look_at_multicast();
  std::string multicast_path() const;
  uint32_t queues_offered() const;
  bool write_state(XenbusState state, bool offer);
  void refuse(const Error& error);
  void write_error(const std::string& message);
  void follow_rate();
  void apply_rates();
  void delay_offer();
  std::string path(std::string_view key) const;

  VifWorld& world_;
  const VifId id_;
  const std::string directory_;
  const uint16_t index_;
  std::string frontend_;  // its directory
  VifIdentity identity_;
  std::optional<VifPlan> plan_;
  RateBudget from_guest_rate_, to_guest_rate_;  // the queue's as well
  bool rate_changed_ = false;
  VifWorker* worker_ = nullptr;  // of that connection
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<ControlRing> control_ring_;    // of that connection; none if the guest has none
  std::unique_ptr<MulticastControl> multicast_;  // of that connection
  bool blamed_for_multicast_ = false;            // for a request that is neither 0 nor 1
  VifFacts facts_;

  bool domain_known_ = false;  // xenstored had it when we looked first
  bool domain_dead_ = false;
  bool planned_ = false;  // plan_ or the refusal is of this life of the frontend
  bool refused_ = false;
  bool unoffered_ = false;  // in InitWait without features, for the hotplug script's sake
  bool quarantined_ = false;
  std::string error_;          // why: refused or quarantined
  bool busy_ = false;          // a disconnect or a reconfiguration is under way
  VifStep rest_ = {};          // what its step has yet to do
  bool reconfigured_ = false;  // the worker has what this Reconfiguring changed
  bool draining_ = false;
  std::function<void()> drained_;
  bool over_ = false;
  std::optional<bool> carrier_;                  // as xenstore has it
  std::deque<Loop::Clock::time_point> strikes_;  // quarantines of the last 10 minutes
  Loop::Clock::time_point offer_at_ = Loop::Clock::time_point::min();
};

}  // namespace netback
