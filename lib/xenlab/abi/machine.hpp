// This process's part in a lab: the shared file, who it is, and the lock for what is not atomic.
#pragma once

#include <errno.h>

#include <string>

#include "lib/xenlab/abi/layout.hpp"

namespace xenlab {

struct Here {
  Machine* machine;
  uint8_t* pages;
  uint32_t client;        // index
  uint32_t domain;        // slot
  std::string directory;  // of the lab: sockets and small files
  int file;               // the machine's memory
  int teller;             // datagram socket that wakes handles

  Domain& own_domain() const { return machine->domains[domain]; }
  Client& own_client() const { return machine->clients[client]; }
  uint8_t* page(uint32_t number) const { return pages + uint64_t{number} * page_bytes; }
};

// Joins the lab of $XENLAB as domain $XENLAB_DOMAIN, once; nullptr with errno when there is none.
Here* here();
// The hypervisor's own: maps `file` as client 0 of domain 0.
Here* become_hypervisor(int file, const std::string& directory);

// What a process asks of the hypervisor, and the answer; with the file's descriptor when it joined.
struct Request {
  enum Kind : uint32_t {
    join,
    create_domain,
    destroy_domain,
    arm_fault,
    pause_xenstore,
    set_costs
  } kind;
  uint32_t process;
  uint32_t domain_number;  // to be part of; to destroy
  // arm_fault: which, and when it strikes. pause_xenstore: for how long.
  uint32_t fault, one_in, at, index, fault_domain;
  uint64_t seed;
  uint32_t milliseconds;
  uint32_t hypercall_ns, copy_ns, notify_ns;  // set_costs
};
struct Answer {
  int32_t error;  // errno; 0: done
  uint32_t client;
  uint32_t domain;  // slot
  uint32_t domain_number;
  uint32_t store_page, store_port;  // of a domain that was made
  uint64_t happened;                // strikes of the fault before it was armed anew
};

// Asks the hypervisor of the lab in `directory`, on a connection that stays open: its number, -1
// with errno.
int ask(const std::string& directory, const Request& request, Answer& answer, int& file);

// The machine's lock, for a scope.
class Locked {
 public:
  explicit Locked(Machine& machine);
  ~Locked();
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Machine& machine_;
};

// Under the lock. A page of zeros, or no_page; back for the next, as the superpages stay whole.
uint32_t take_page(Here& here);
void free_page(Here& here, uint32_t page);

// What a C function returns that fails.
inline int fail(int error) {
  errno = error;
  return -1;
}

// Path of the socket that wakes a handle.
std::string handle_path(const std::string& directory, uint32_t handle);

}  // namespace xenlab
