#include "lib/xenlab/abi/machine.hpp"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

namespace xenlab {
namespace {

Here* self = nullptr;

constexpr uint64_t superpage_bytes = 2 << 20;

// By superpages where the system has some, as Xen maps the guests' memory for its copies.
void* map_file(int file) {
  void* room = mmap(nullptr, file_bytes + superpage_bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return room;
  const auto from = reinterpret_cast<uintptr_t>(room) % superpage_bytes;
  auto* start = static_cast<uint8_t*>(room) + superpage_bytes - from;
  void* all = mmap(start, file_bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file, 0);
  if (all != MAP_FAILED) madvise(all, file_bytes, MADV_HUGEPAGE);
  return all;
}

bool map_machine(Here& here) {
  void* all = map_file(here.file);
  if (all == MAP_FAILED) return false;
  here.machine = static_cast<Machine*>(all);
  here.pages = static_cast<uint8_t*>(all) + machine_bytes;
  here.teller = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return here.teller >= 0;
}

// The answer and the descriptor that comes with it.
bool receive_answer(int connection, Answer& answer, int& file) {
  iovec part{&answer, sizeof(answer)};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof(room);
  if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != ssize_t{sizeof(answer)}) {
    errno = ECONNREFUSED;
    return false;
  }
  errno = answer.error;
  if (answer.error != 0) return false;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS)
    std::memcpy(&file, CMSG_DATA(header), sizeof(file));
  return true;
}

// The connection stays open for as long as the process lives: its end is how the hypervisor learns
// of the death.
bool join(Here& here, uint32_t domain_number) {
  const Request request{.kind = Request::join,
                        .process = static_cast<uint32_t>(getpid()),
                        .domain_number = domain_number};
  Answer answer{};
  const int connection = ask(here.directory, request, answer, here.file);
  if (connection < 0) return false;
  if (!map_machine(here)) {
    close(connection);
    return false;
  }
  here.client = answer.client;
  here.domain = answer.domain;
  return true;
}

// Nobody copies any more from a page that nothing names any more. A client that dies in a call is
// no longer in use.
void wait_for_copies(const Machine& machine) {
  for (const Client& client : machine.clients)
    while (client.in_use && client.in_copies > 0) sched_yield();
}

}  // namespace

int ask(const std::string& directory, const Request& request, Answer& answer, int& file) {
  const std::string path = directory + "/hypervisor";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (connection < 0) return -1;
  if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      send(connection, &request, sizeof(request), MSG_NOSIGNAL) == ssize_t{sizeof(request)} &&
      receive_answer(connection, answer, file))
    return connection;
  const int why = errno;
  close(connection);
  errno = why;
  return -1;
}

Here* here() {
  static std::mutex once;
  const std::lock_guard guard(once);
  if (self != nullptr) return self;
  const char* directory = getenv("XENLAB");
  const char* domain = getenv("XENLAB_DOMAIN");
  if (directory == nullptr || domain == nullptr) {
    errno = ENOENT;
    return nullptr;
  }
  auto* made = new Here{};
  made->directory = directory;
  if (join(*made, static_cast<uint32_t>(strtoul(domain, nullptr, 10)))) return self = made;
  delete made;
  return nullptr;
}

Here* become_hypervisor(int file, const std::string& directory) {
  auto* made = new Here{};
  made->directory = directory;
  made->file = file;
  if (map_machine(*made)) return self = made;
  delete made;
  return nullptr;
}

Locked::Locked(Machine& machine) : machine_(machine) {
  if (pthread_mutex_lock(&machine.lock) == EOWNERDEAD) pthread_mutex_consistent(&machine.lock);
}

Locked::~Locked() {
  pthread_mutex_unlock(&machine_.lock);
}

// The lowest that is free: neighbours in a domain are neighbours in the file, and stay it when
// others have come and gone. Its first touch is of this mapping, by superpages; those of a guest
// are of single pages.
uint32_t take_page(Here& here) {
  Machine& machine = *here.machine;
  for (size_t i = machine.lowest_free / 64; i < machine.pages_in_use.size(); ++i) {
    uint64_t& word = machine.pages_in_use[i];
    if (~word == 0) continue;
    const auto bit = static_cast<uint32_t>(std::countr_one(word));
    word |= uint64_t{1} << bit;
    const uint32_t page = static_cast<uint32_t>(i) * 64 + bit;
    machine.lowest_free = page + 1;
    *static_cast<volatile uint8_t*>(here.page(page)) = 0;
    return page;
  }
  return no_page;
}

void free_page(Here& here, uint32_t page) {
  wait_for_copies(*here.machine);
  std::memset(here.page(page), 0, page_bytes);
  Machine& machine = *here.machine;
  machine.lowest_free = std::min(machine.lowest_free, page);
  machine.pages_in_use[page / 64] &= ~(uint64_t{1} << page % 64);
}

std::string handle_path(const std::string& directory, uint32_t handle) {
  return directory + "/events/" + std::to_string(handle);
}

}  // namespace xenlab
