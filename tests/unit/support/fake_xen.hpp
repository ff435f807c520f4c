// Xen for unit tests, at the C ABI of libxengnttab and libxenevtchn: the code under test is the
// product's, linked against this instead of the libraries. Grants are pages of this process.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace netback::test {

class FakeXen {
 public:
  struct Grant {
    uint8_t* page = nullptr;
    bool read_only = false;
    uint32_t mapped = 0;
  };

  // The one that the C functions act on. reset() between tests.
  static FakeXen& instance();
  void reset() { *this = FakeXen{}; }

  void grant(uint16_t domain, uint32_t reference, uint8_t* page, bool read_only = false) {
    grants[{domain, reference}] = {page, read_only, 0};
  }
  void revoke(uint16_t domain, uint32_t reference) { grants.erase({domain, reference}); }

  std::map<std::pair<uint16_t, uint32_t>, Grant> grants;

  // Faults. A call that names this domain fails whole, as the kernel's does: statuses say okay,
  // and what came before the fault in the call was copied.
  int failing_domain = -1;
  // The n-th copy operation from now fails by itself with a bad status; -1: none.
  int failing_operation = -1;

  // What happened.
  uint32_t copy_calls = 0;
  uint32_t copy_operations = 0;
  std::vector<uint32_t> operations_per_call;
  std::map<uint32_t, uint32_t> notifications;               // by local port
  std::map<uint32_t, std::pair<uint32_t, uint32_t>> bound;  // local port -> domain, remote port
  std::vector<uint32_t> pending;  // ports with an event that nobody has read
  uint32_t next_port = 100;
};

}  // namespace netback::test
