// Control to worker and back. Ownership travels by message; facts (counters, link, stalled) are
// read. Control frees what it lent only after the worker's ack.
#pragma once

#include <boost/lockfree/spsc_queue.hpp>

#include <cstdint>
#include <variant>

#include "dataplane/forward_table.hpp"
#include "dataplane/guest_queue.hpp"
#include "dataplane/limits.hpp"
#include "dataplane/port/port_queue.hpp"

namespace netback {

struct AttachQueue {
  GuestQueue* queue;
};
// Acked when nothing of the queue is in the worker any more. With `drain` its backlog is delivered
// first, or dropped after limits::drain_ms. A UseTable without the vif goes before it.
struct DetachQueue {
  GuestQueue* queue;
  bool drain;
};
struct AttachPort {
  PortQueue* port;
};
struct DetachPort {
  PortQueue* port;
};
// The table before it is free after the ack.
struct UseTable {
  const ForwardTable* table;
};
struct UseSettings {
  GuestQueue* queue;
  const VifSettings* settings;
};
// The table before it, and the pages that this one lacks, are free after the ack. Null: none.
struct UseStaging {
  GuestQueue* queue;
  const StagingTable* table;
};
// The one before it is free after the ack. Null: none.
struct UseHashing {
  GuestQueue* queue;
  const Hashing* hashing;
};
// Nothing. Its ack says that what control wrote before it is seen, and that nothing goes on which
// was begun before that: a port that does not run is used no more.
struct Fence {};
struct Stop {};

struct Command {
  uint32_t sequence = 0;
  std::variant<Stop, AttachQueue, DetachQueue, AttachPort, DetachPort, UseTable, UseSettings,
               UseStaging, UseHashing, Fence>
      what;
};

struct Acked {
  uint32_t sequence;
};
struct Quarantined {
  GuestQueue* queue;
  Violation violation;
  uint32_t slot;
};
using Report = std::variant<Acked, Quarantined>;

// The two bounded queues between control and one worker.
class Mailbox {
 public:
  // Check good() before anything else: the process may be out of file descriptors.
  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  bool good() const { return worker_fd_ >= 0 && control_fd_ >= 0; }

  // Control. False when the worker is limits::command_queue_max commands behind: try again later.
  bool post(const Command& command);
  bool next_report(Report& report) { return to_control_.pop(report); }
  int control_fd() const { return control_fd_; }  // readable after a report
  void clear_control_fd();

  // Another worker: ends its sleep.
  void wake_worker() const;

  // Worker. The report queue has room for all that can be outstanding.
  bool next_command(Command& command) { return to_worker_.pop(command); }
  bool has_commands() const { return to_worker_.read_available() > 0; }
  void report(const Report& report);
  int worker_fd() const { return worker_fd_; }  // readable after a post, and a wake_worker()
  void clear_worker_fd();

 private:
  static constexpr size_t reports_max = limits::command_queue_max + limits::queues_max;
  boost::lockfree::spsc_queue<Command, boost::lockfree::capacity<limits::command_queue_max>>
      to_worker_;
  boost::lockfree::spsc_queue<Report, boost::lockfree::capacity<reports_max>> to_control_;
  int worker_fd_;
  int control_fd_;
};

}  // namespace netback
