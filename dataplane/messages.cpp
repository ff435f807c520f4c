#include "dataplane/messages.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.hpp"

namespace netback {
namespace {

int make_eventfd() {
  return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void signal(int fd) {
  // Fails only when the counter is full, and then it is readable anyway.
  [[maybe_unused]] const ssize_t written = eventfd_write(fd, 1);
}

void clear(int fd) {
  eventfd_t count;
  [[maybe_unused]] const int empty = eventfd_read(fd, &count);
}

}  // namespace

Mailbox::Mailbox() : worker_fd_(make_eventfd()), control_fd_(make_eventfd()) {}

Mailbox::~Mailbox() {
  close(worker_fd_);
  close(control_fd_);
}

bool Mailbox::post(const Command& command) {
  if (!to_worker_.push(command)) return false;
  signal(worker_fd_);
  return true;
}

void Mailbox::report(const Report& report) {
  NETBACK_CHECK(to_control_.push(report));
  signal(control_fd_);
}

void Mailbox::wake_worker() const {
  signal(worker_fd_);
}

void Mailbox::clear_worker_fd() {
  clear(worker_fd_);
}
void Mailbox::clear_control_fd() {
  clear(control_fd_);
}

}  // namespace netback
