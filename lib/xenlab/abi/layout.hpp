// What a lab's machine is made of: one file of shared memory, mapped by every process of the lab.
// Nothing here knows of vifs. All of it is written by whoever makes a hypercall: under the
// machine's lock, or by the atomic operations that the comments name.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace xenlab {

inline constexpr uint32_t page_bytes = 4096;
inline constexpr uint32_t domains_max = 256;           // alive at once
inline constexpr uint32_t grants_per_domain = 65'536;  // 512 grant frames; Xen's default is 64
inline constexpr uint32_t ports_per_domain = 4'096;    // as with Xen's two-level event channels
inline constexpr uint32_t handles_max = 2'048;         // open handles of event channels
inline constexpr uint32_t pages_max = 1U << 20;        // of all domains: 4 GiB, as far as ever used
inline constexpr uint32_t clients_max = 1'024;         // processes
inline constexpr uint32_t mappings_max = 65'536;       // of grants, of all processes
inline constexpr uint32_t first_reserved_domid = 0x7ff0;
inline constexpr uint32_t no_page = UINT32_MAX;
inline constexpr uint32_t nobody = UINT32_MAX;  // no handle, no client

// A reference that domain `grantee` may use. Grant copies read it without the lock. One that was
// ended while it was mapped stays in use until the last unmap.
struct Grant {
  static constexpr uint64_t in_use = 1ULL << 63, read_only = 1ULL << 62, ended = 1ULL << 61;
  // The flags, the grantee's number (16 bits at 32), the page.
  std::atomic<uint64_t> word;
  uint32_t maps;   // mappings of it by the grantee
  uint32_t owner;  // the client that shared it; `nobody`: the hypervisor

  static constexpr uint64_t make(uint16_t grantee, uint32_t page, bool writable) {
    return in_use | (writable ? 0 : read_only) | uint64_t{grantee} << 32 | page;
  }
  static constexpr uint16_t grantee(uint64_t word) { return static_cast<uint16_t>(word >> 32); }
  static constexpr uint32_t page(uint64_t word) { return static_cast<uint32_t>(word); }
};

// One end of an event channel. `state` changes by compare-and-swap, the rest under the lock.
struct Port {
  enum Kind : uint32_t { closed, unbound, interdomain, virq };
  static constexpr uint32_t pending = 1, masked = 2;
  std::atomic<uint32_t> kind;
  std::atomic<uint32_t> state;          // pending, masked
  std::atomic<uint32_t> handle;         // who reads its events; `nobody`
  std::atomic<uint32_t> remote_domain;  // slot; of an unbound port: the number of who may bind it
  std::atomic<uint32_t> remote_port;    // or the VIRQ
};

struct Domain {
  enum State : uint32_t { absent, alive, dying };
  std::atomic<uint32_t> state;
  std::atomic<uint32_t> number;
  uint32_t next_grant;   // where the search for a free reference goes on
  uint32_t grant_count;  // in use
  uint32_t store_page;   // the xenstore ring, granted by reference 1
  uint32_t store_port;   // the guest's end of its event channel
  std::array<Grant, grants_per_domain> grants;
  std::array<Port, ports_per_domain> ports;
};

// An open handle of event channels: the ports whose events wait to be read. Bits are set and
// cleared atomically; whoever sets the first one since `told` was cleared sends a datagram to the
// handle. One that is held up before that sends it late, of what has been read since.
struct Handle {
  std::atomic<uint32_t> in_use;
  uint32_t client;
  uint32_t domain;  // slot
  std::atomic<uint32_t> told;
  std::atomic<uint32_t> last_read;  // port, or 0
  std::array<std::atomic<uint64_t>, ports_per_domain / 64> waiting;
};

// A process of the lab. What it holds is found by its index when it dies.
struct Client {
  std::atomic<uint32_t> in_use;
  uint32_t process;
  uint32_t domain;                  // slot
  std::atomic<uint32_t> in_copies;  // grant-copy calls under way: no page is freed meanwhile
  // What it did, for tests and projections; its threads write, anyone reads.
  std::atomic<uint64_t> copy_calls, copy_hypercalls, copy_operations, notifications;
};

// A page of another domain that a client has mapped.
struct Mapping {
  uint32_t client;   // `nobody`: free
  uint32_t granter;  // slot
  uint32_t reference;
  uint32_t clear_byte;   // offset in the page that is set to 0 at the end; `nobody`: none
  uint32_t notify_port;  // the client's, notified then; `nobody`: none
};

// A fault that strikes once, or now and then by a seed: the same seed, the same strikes.
struct Fault {
  std::atomic<uint64_t> random;    // the seed's sequence
  std::atomic<uint32_t> one_in;    // on average one chance in so many; 0: never
  std::atomic<uint32_t> at;        // the at-th chance from now; 0: never
  std::atomic<uint32_t> index;     // only operations of this index in their call; or `every`
  std::atomic<uint32_t> domain;    // only those on this domain's pages; or `every`
  std::atomic<uint64_t> happened;  // strikes so far
};

// What can go wrong, by name.
enum class FaultKind : uint32_t {
  copy_operation,
  copy_call,
  notification_lost,
  notification_twice,
  domain_dies,  // of the pages that an operation is about to use
};
inline constexpr std::array<const char*, 5> fault_names{
    "copy-operation", "copy-call", "notification-lost", "notification-twice", "domain-dies"};
inline constexpr uint32_t every = UINT32_MAX;  // index, domain

// What a real host would take, in cycles of the TSC.
struct Costs {
  std::atomic<bool> set;  // one of them is not 0
  std::atomic<uint64_t> hypercall_cycles, copy_cycles, notify_cycles;
};

static_assert(pages_max % 64 == 0);
struct Machine {
  pthread_mutex_t lock;   // robust: who dies with it leaves it to the next
  uint32_t next_number;   // of the next domain
  uint32_t lowest_free;   // no page below it is free
  uint32_t next_mapping;  // where the search for a free one goes on
  std::array<Fault, fault_names.size()> faults;
  Costs costs;
  std::array<std::atomic<uint16_t>, first_reserved_domid> slot_of;  // a domain's number: slot + 1
  std::array<Client, clients_max> clients;
  std::array<Handle, handles_max> handles;
  std::array<Mapping, mappings_max> mappings;
  std::array<uint64_t, pages_max / 64> pages_in_use;  // a bit each
  std::array<Domain, domains_max> domains;
};

// Pages follow the machine in the file.
inline constexpr uint64_t machine_bytes =
    (sizeof(Machine) + page_bytes - 1) / page_bytes * page_bytes;
inline constexpr uint64_t file_bytes = machine_bytes + uint64_t{pages_max} * page_bytes;

}  // namespace xenlab
