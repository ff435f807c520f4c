#include "lib/xenlab/tool/hypervisor.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/domains.hpp"
#include "lib/xenlab/abi/faults.hpp"

namespace xenlab {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// The machine before its first domain. Its file is all zeros.
void power_on(Machine& machine) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&machine.lock, &attributes);
  for (Mapping& mapping : machine.mappings) mapping.client = nobody;
}

void send_answer(int connection, const Answer& answer, int file) {
  iovec part{const_cast<Answer*>(&answer), sizeof(answer)};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (file >= 0) {
    message.msg_control = room;
    message.msg_controllen = sizeof(room);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &file, sizeof(file));
  }
  sendmsg(connection, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Hypervisor::Hypervisor(const std::string& directory, const std::vector<std::string>& xenstored,
                       const std::string& library)
    : directory_(directory) {
  for (const char* part : {"/events", "/xenbus", "/xenstored"})
    std::filesystem::create_directories(directory + part);
  const int file = memfd_create("xenlab", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(file_bytes)) != 0) fail("machine memory");
  here_ = become_hypervisor(file, directory);
  if (here_ == nullptr) fail("machine memory");
  power_on(*here_->machine);
  make_domain_0();
  listen();
  take_signals();
  start_xenstored(xenstored, library);
}

Hypervisor::~Hypervisor() {
  for (const auto& [connection, client] : clients_)
    kill(static_cast<pid_t>(here_->machine->clients[client].process), SIGKILL);
  if (xenstored_ > 0) kill(xenstored_, SIGKILL);
  unlink((directory_ + "/hypervisor").c_str());
}

void Hypervisor::run() {
  poller_.run();
}

// xenstored finds its ring of domain 0 through two files; the page is nobody's: domain 0 uses the
// socket.
void Hypervisor::make_domain_0() {
  here_->machine->clients[0].process = static_cast<uint32_t>(getpid());
  here_->machine->clients[0].in_use = 1;
  const uint32_t slot = *create_domain(*here_);
  std::ofstream(directory_ + "/xsd_port") << here_->machine->domains[slot].store_port;
  std::ofstream(directory_ + "/xsd_kva") << std::string(page_bytes, '\0');
}

void Hypervisor::listen() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = directory_ + "/hypervisor";
  if (path.size() + 16 >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    fail(path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  unlink(path.c_str());
  listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener_ < 0 ||
      bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener_, 64) != 0)
    fail(path);
  poller_.add(listener_, [this] { accept_client(); });
}

void Hypervisor::take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  poller_.add(signals_, [this] {
    signalfd_siginfo seen;
    while (read(signals_, &seen, sizeof(seen)) == ssize_t{sizeof(seen)})
      if (seen.ssi_signo != SIGCHLD || waitpid(xenstored_, nullptr, WNOHANG) == xenstored_)
        poller_.stop();
  });
}

// In the foreground and without a database file: it lives as long as the lab.
void Hypervisor::start_xenstored(const std::vector<std::string>& command,
                                 const std::string& library) {
  xenstored_ = fork();
  if (xenstored_ != 0) return;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setenv("LD_PRELOAD", library.c_str(), 1);
  setenv("XENLAB", directory_.c_str(), 1);
  setenv("XENLAB_DOMAIN", "0", 1);
  setenv("XENSTORED_RUNDIR", (directory_ + "/xenstored").c_str(), 1);
  std::vector<char*> words;
  for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execv(words[0], words.data());
  std::perror(words[0]);
  _exit(127);
}

void Hypervisor::accept_client() {
  const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (connection >= 0) poller_.add(connection, [this, connection] { serve(connection); });
}

void Hypervisor::serve(int connection) {
  Request request;
  const ssize_t count = recv(connection, &request, sizeof(request), 0);
  if (count < 0 && errno == EAGAIN) return;
  if (count != ssize_t{sizeof(request)}) return client_gone(connection);
  const Answer given = answer(request, connection);
  send_answer(connection, given, request.kind == Request::join ? here_->file : -1);
}

Answer Hypervisor::answer(const Request& request, int connection) {
  switch (request.kind) {
    case Request::join:
      return join(request, connection);
    case Request::create_domain:
      return create();
    case Request::destroy_domain:
      return destroy(request.domain_number);
    case Request::arm_fault:
      return arm(request);
    case Request::pause_xenstore:
      return pause_xenstore(request.milliseconds);
    case Request::set_costs:
      set_costs(*here_->machine, {request.hypercall_ns, request.copy_ns, request.notify_ns});
      return {};
  }
  return {.error = EINVAL};
}

Answer Hypervisor::join(const Request& request, int connection) {
  const Locked locked(*here_->machine);
  const auto slot = find_domain(*here_->machine, request.domain_number);
  if (!slot || clients_.contains(connection)) return {.error = slot ? EBUSY : ESRCH};
  for (uint32_t index = 0; index < clients_max; ++index) {
    Client& client = here_->machine->clients[index];
    if (client.in_use) continue;
    client.process = request.process;
    client.domain = *slot;
    client.in_copies = 0;
    client.in_use = 1;
    clients_[connection] = index;
    return {.client = index, .domain = *slot, .domain_number = request.domain_number};
  }
  return {.error = EAGAIN};
}

Answer Hypervisor::create() {
  std::optional<uint32_t> slot;
  {
    const Locked locked(*here_->machine);
    slot = create_domain(*here_);
  }
  if (!slot) return {.error = ENOMEM};
  const Domain& domain = here_->machine->domains[*slot];
  xenbus_[*slot] = std::make_unique<XenbusDevice>(*here_, poller_, *slot);
  return {.domain = *slot,
          .domain_number = domain.number,
          .store_page = domain.store_page,
          .store_port = domain.store_port};
}

// Its processes die first, as its CPUs would stop; what they held is released here and not when
// their connections end.
Answer Hypervisor::destroy(uint32_t number) {
  const auto slot = find_domain(*here_->machine, number);
  if (!slot || number == 0) return {.error = slot ? EPERM : ESRCH};
  std::vector<int> killed;
  for (const auto& [connection, client] : clients_)
    if (here_->machine->clients[client].domain == *slot) {
      kill(static_cast<pid_t>(here_->machine->clients[client].process), SIGKILL);
      killed.push_back(connection);
    }
  for (const int connection : killed) {
    pollfd end{connection, POLLIN, 0};  // the kernel closes what a dead process had
    poll(&end, 1, 10'000);
    client_gone(connection);
  }
  xenbus_.erase(*slot);
  const Locked locked(*here_->machine);
  destroy_domain(*here_, *slot);
  return {.domain = *slot, .domain_number = number};
}

Answer Hypervisor::arm(const Request& request) {
  if (request.fault >= fault_names.size()) return {.error = EINVAL};
  const uint64_t happened = here_->machine->faults[request.fault].happened;
  arm_fault(*here_->machine, static_cast<FaultKind>(request.fault),
            {request.one_in, request.at, request.index, request.fault_domain, request.seed});
  return {.happened = happened};
}

// Everybody waits for an answer meanwhile, but for us.
Answer Hypervisor::pause_xenstore(uint32_t milliseconds) {
  kill(xenstored_, SIGSTOP);
  std::thread([pid = xenstored_, milliseconds] {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    kill(pid, SIGCONT);
  }).detach();
  return {};
}

void Hypervisor::client_gone(int connection) {
  if (const auto found = clients_.find(connection); found != clients_.end()) {
    const Locked locked(*here_->machine);
    release_client(*here_, found->second);
    clients_.erase(found);
  }
  poller_.remove(connection);
  close(connection);
}

}  // namespace xenlab
