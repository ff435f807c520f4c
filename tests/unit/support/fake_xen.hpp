// Xen for unit tests, at the C ABI of libxengnttab and libxenevtchn: the code under test is the
// product's, linked against this instead of the libraries. Grants are pages of this process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace netback::test {

class FakeXen {
 public:
  struct Grant {
    uint8_t* page = nullptr;
    bool read_only = false;
    uint32_t mapped = 0;
    std::vector<int> maps = {};  // the protection of each map so far: PROT_*
  };

  // The one that the C functions act on. reset() between tests.
  static FakeXen& instance();
  void reset();

  void grant(uint16_t domain, uint32_t reference, uint8_t* page, bool read_only = false) {
    grants[{domain, reference}] = {page, read_only};
  }
  void revoke(uint16_t domain, uint32_t reference) { grants.erase({domain, reference}); }

  std::map<std::pair<uint16_t, uint32_t>, Grant> grants;

  // Faults. A call that names this domain fails whole, as the kernel's does: statuses say okay,
  // and what came before the fault in the call was copied.
  int failing_domain = -1;
  int failing_errno = 22;  // EINVAL
  // Copy operations, counted from the last reset of copy_operations, that fail by themselves.
  std::set<uint32_t> failing_operations;
  // Runs at the start of each copy call: what a guest does while we are in the hypercall.
  std::function<void()> during_copy;
  bool open_fails = false;
  // False: copies succeed and nothing is counted, so that several threads may run at a time.
  bool records = true;

  // What happened.
  uint32_t copy_calls = 0;
  uint32_t copy_operations = 0;
  std::vector<uint32_t> operations_per_call;
  uint32_t impossible_copies = 0;  // beyond a page of the guest's, or across pages of ours
  std::map<uint32_t, uint32_t> notifications;               // by local port
  std::map<uint32_t, std::pair<uint32_t, uint32_t>> bound;  // local port -> domain, remote port
  uint32_t next_port = 100;
  std::atomic<uint32_t> event_reads = 0;    // calls that asked for a waiting event
  std::atomic<uint32_t> unmasked = 0;       // events whose port may deliver again
  std::atomic<uint32_t> unmasked_last = 0;  // the last of these ports
  uint32_t open_handles = 0;                // of grants and of events; reset() leaves it

  // Grants of a domain that are mapped, each as often as it is; of those from `first` on.
  uint32_t mapped(uint16_t domain, uint32_t first = 0) const;

  // A guest's kick: the event waits until it is read. From any thread. It goes to the handle that
  // was opened last, whichever bound the port, and no port is ever masked.
  void kick(uint32_t port);
  // The next waiting event's port, or -1; the C functions' own.
  int take_event(int fd);
  void use_events_fd(int fd) { events_fd_ = fd; }

 private:
  FakeXen() = default;
  std::mutex pending_lock_;
  std::vector<uint32_t> pending_;
  int events_fd_ = -1;
};

inline FakeXen& xen() {
  return FakeXen::instance();
}

}  // namespace netback::test
