#include "lib/xenlab/tool/xenbus_device.hpp"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <system_error>

extern "C" {
#include <xen/xen.h>

#include <xen/io/xs_wire.h>
}

namespace xenlab {
namespace {

constexpr uint32_t nobody_asks = 0;  // of requests that we make ourselves

int listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof(address.sun_path) - 1));
  unlink(path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, 64) != 0)
    throw std::system_error(errno, std::generic_category(), path);
  return fd;
}

OpenHandle open_store_handle(Here& here, uint32_t slot) {
  const Locked locked(*here.machine);
  const auto opened = open_handle(here, slot, false);
  if (!opened) throw std::system_error(errno, std::generic_category(), "event channels");
  Domain& domain = here.machine->domains[slot];
  domain.ports[domain.store_port].handle = opened->index;
  return *opened;
}

// The first two strings of a body, "a\0b\0..."; empty ones when it is not so.
std::pair<std::string, std::string> two_strings(const std::string& body) {
  const size_t first = body.find('\0');
  if (first == body.npos) return {};
  const size_t second = body.find('\0', first + 1);
  if (second == body.npos) return {};
  return {body.substr(0, first), body.substr(first + 1, second - first - 1)};
}

std::string joined(const std::string& path, const std::string& token) {
  return path + '\0' + token + '\0';
}

// A whole message at the start of `bytes`, taken off it.
template <class Message>
bool take_message(std::string& bytes, Message& message) {
  xsd_sockmsg header;
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (bytes.size() < sizeof(header) + header.len) return false;
  message = {header.type, header.req_id, header.tx_id, bytes.substr(sizeof(header), header.len)};
  bytes.erase(0, sizeof(header) + header.len);
  return true;
}

template <class Message>
std::string bytes_of(const Message& message) {
  const xsd_sockmsg header{message.type, message.request, message.transaction,
                           static_cast<uint32_t>(message.body.size())};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + message.body;
}

// As many bytes as fit into a ring, or as there are in it.
uint32_t write_ring(char* ring, std::atomic_ref<uint32_t> produced, uint32_t consumed,
                    std::string& bytes) {
  const uint32_t count = std::min<uint32_t>(XENSTORE_RING_SIZE - (produced - consumed),
                                            static_cast<uint32_t>(bytes.size()));
  for (uint32_t i = 0; i < count; ++i) ring[MASK_XENSTORE_IDX(produced + i)] = bytes[i];
  bytes.erase(0, count);
  produced += count;
  return count;
}

uint32_t read_ring(const char* ring, uint32_t produced, std::atomic_ref<uint32_t> consumed,
                   std::string& bytes) {
  const uint32_t count = std::min<uint32_t>(produced - consumed, XENSTORE_RING_SIZE);
  for (uint32_t i = 0; i < count; ++i) bytes += ring[MASK_XENSTORE_IDX(consumed + i)];
  consumed += count;
  return count;
}

}  // namespace

std::string XenbusDevice::path(const std::string& directory, uint32_t domain_number) {
  return directory + "/xenbus/" + std::to_string(domain_number);
}

XenbusDevice::XenbusDevice(Here& here, Poller& poller, uint32_t slot)
    : here_(here),
      poller_(poller),
      slot_(slot),
      ring_(*reinterpret_cast<xenstore_domain_interface*>(
          here.page(here.machine->domains[slot].store_page))),
      events_(open_store_handle(here, slot)),
      path_(path(here.directory, here.machine->domains[slot].number)) {
  listener_ = listen_at(path_);
  poller_.add(listener_, [this] { accept_process(); });
  poller_.add(events_.fd, [this] {
    while (const auto port = next_event(here_, events_.index, events_.fd)) {
      unmask(here_, slot_, *port);
      move_bytes();
    }
  });
}

// The handle itself went with the domain.
XenbusDevice::~XenbusDevice() {
  for (const auto& [id, connection] : connections_) {
    poller_.remove(connection.fd);
    close(connection.fd);
  }
  for (const int fd : {listener_, events_.fd}) {
    poller_.remove(fd);
    close(fd);
  }
  unlink(path_.c_str());
}

void XenbusDevice::accept_process() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  const uint32_t id = next_connection_++;
  connections_[id].fd = fd;
  poller_.add(fd, [this, id] { read_process(id); });
}

void XenbusDevice::read_process(uint32_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  flush(id);
  char bytes[8192];
  const ssize_t count = recv(found->second.fd, bytes, sizeof(bytes), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return close_process(id);
  found->second.input.append(bytes, static_cast<size_t>(count));
  Message message;
  while (take_message(found->second.input, message)) forward(id, std::move(message));
  move_bytes();
}

// What it left behind in xenstored ends with it, as when the device is closed.
void XenbusDevice::close_process(uint32_t id) {
  const Connection gone = std::move(connections_[id]);
  connections_.erase(id);
  poller_.remove(gone.fd);
  close(gone.fd);
  for (const auto& watch : gone.watches) send_to_store(nobody_asks, {XS_UNWATCH, 0, 0, watch});
  for (const uint32_t transaction : gone.transactions)
    send_to_store(nobody_asks, {XS_TRANSACTION_END, 0, transaction, std::string("F\0", 2)});
  move_bytes();
}

// Tokens of watches are the processes' own: two may choose the same.
void XenbusDevice::forward(uint32_t id, Message message) {
  if (message.type == XS_WATCH || message.type == XS_UNWATCH) {
    const auto [watched, token] = two_strings(message.body);
    message.body = joined(watched, std::to_string(id) + ":" + token);
  }
  send_to_store(id, std::move(message));
}

void XenbusDevice::send_to_store(uint32_t id, Message message) {
  const uint32_t request = next_request_++;
  Waiting& waiting = waiting_[request];
  waiting = {id, message.request, message};
  message.request = request;
  to_store_ += bytes_of(message);
}

void XenbusDevice::move_bytes() {
  uint32_t moved = 0, now;
  do {
    now = write_ring(ring_.req, std::atomic_ref(ring_.req_prod), std::atomic_ref(ring_.req_cons),
                     to_store_) +
          read_ring(ring_.rsp, std::atomic_ref(ring_.rsp_prod), std::atomic_ref(ring_.rsp_cons),
                    from_store_);
    moved += now;
  } while (now > 0);
  if (moved > 0) notify(here_, slot_, here_.machine->domains[slot_].store_port);
  Message message;
  while (take_message(from_store_, message))
    message.type == XS_WATCH_EVENT ? take_watch_event(message) : take_answer(message);
}

void XenbusDevice::take_answer(const Message& message) {
  const auto found = waiting_.find(message.request);
  if (found == waiting_.end()) return;
  const Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  const auto asked = connections_.find(waiting.connection);
  if (asked == connections_.end()) {  // it is gone: a transaction that began meanwhile ends
    if (message.type == XS_TRANSACTION_START)
      send_to_store(nobody_asks,
                    {XS_TRANSACTION_END, 0, static_cast<uint32_t>(atol(message.body.c_str())),
                     std::string("F\0", 2)});
    return;
  }
  note_outcome(asked->second, waiting, message);
  Message answer = message;
  answer.request = waiting.request;
  answer_process(waiting.connection, answer);
}

void XenbusDevice::note_outcome(Connection& connection, const Waiting& waiting,
                                const Message& answer) {
  if (answer.type == XS_TRANSACTION_START)
    connection.transactions.insert(static_cast<uint32_t>(atol(answer.body.c_str())));
  else if (waiting.sent.type == XS_TRANSACTION_END)
    connection.transactions.erase(waiting.sent.transaction);
  else if (answer.type == XS_WATCH)
    connection.watches.insert(waiting.sent.body);
  else if (answer.type == XS_UNWATCH)
    connection.watches.erase(waiting.sent.body);
}

void XenbusDevice::take_watch_event(const Message& message) {
  const auto [changed, token] = two_strings(message.body);
  const size_t colon = token.find(':');
  if (colon == token.npos) return;
  const auto id = static_cast<uint32_t>(atol(token.c_str()));
  if (!connections_.contains(id)) return;
  answer_process(id, {XS_WATCH_EVENT, 0, 0, joined(changed, token.substr(colon + 1))});
}

void XenbusDevice::answer_process(uint32_t id, const Message& message) {
  connections_[id].output += bytes_of(message);
  flush(id);
}

void XenbusDevice::flush(uint32_t id) {
  Connection& connection = connections_[id];
  if (!connection.output.empty()) {
    const ssize_t count = send(connection.fd, connection.output.data(), connection.output.size(),
                               MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) connection.output.erase(0, static_cast<size_t>(count));
  }
  poller_.set_events(connection.fd,
                     static_cast<short>(connection.output.empty() ? POLLIN : POLLIN | POLLOUT));
}

}  // namespace xenlab
