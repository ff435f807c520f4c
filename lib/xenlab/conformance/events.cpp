// Event channels, both ends in this domain.
#include <fcntl.h>
#include <poll.h>

#include "lib/xen/c_api.hpp"
#include "lib/xenlab/conformance/transcript.hpp"

namespace conformance {
namespace {

constexpr evtchn_port_t never_opened = 1000, beyond = 1U << 20;

evtchn_port_t port_of(int result) {
  return static_cast<evtchn_port_t>(result);
}

bool readable(xenevtchn_handle* handle) {
  pollfd event{xenevtchn_fd(handle), POLLIN, 0};
  return poll(&event, 1, 100) > 0;
}

struct Pair {
  xenevtchn_handle* first = xenevtchn_open(nullptr, 0);
  xenevtchn_handle* second = xenevtchn_open(nullptr, 0);
  int one, two;

  Pair() {
    say_address("xenevtchn_open", "", first);
    say("xenevtchn_fd", "a descriptor", yes(xenevtchn_fd(first) >= 0));
    one = xenevtchn_bind_unbound_port(first, 0);
    say_status("xenevtchn_bind_unbound_port", "for ourselves", one);
    two = xenevtchn_bind_interdomain(second, 0, port_of(one));
    say_status("xenevtchn_bind_interdomain", "to our own other end", two);
    say("xenevtchn_bind_interdomain", "two ports", yes(one != two));
  }
  ~Pair() {
    say_status("xenevtchn_close", "", xenevtchn_close(first));
    if (second != nullptr) xenevtchn_close(second);
  }
};

void notify_and_mask(Pair& p) {
  say("xenevtchn_bind_interdomain", "the new end has an event", yes(readable(p.second)));
  say("xenevtchn_bind_interdomain", "the other has none", yes(!readable(p.first)));
  if (readable(p.second))
    say("xenevtchn_pending", "of the new end", yes(xenevtchn_pending(p.second) == p.two));
  say_status("xenevtchn_unmask", "after the event", xenevtchn_unmask(p.second, port_of(p.two)));
  say_status("xenevtchn_notify", "the other end", xenevtchn_notify(p.first, port_of(p.one)));
  say("xenevtchn_notify", "the event is there", yes(readable(p.second)));
  say("xenevtchn_pending", "gives its port", yes(xenevtchn_pending(p.second) == p.two));
  xenevtchn_notify(p.first, port_of(p.one));
  xenevtchn_notify(p.first, port_of(p.one));
  say("xenevtchn_notify", "twice while it is masked: nothing to read", yes(!readable(p.second)));
  xenevtchn_unmask(p.second, port_of(p.two));
  say("xenevtchn_unmask", "then it comes", yes(readable(p.second)));
  say("xenevtchn_pending", "once", yes(xenevtchn_pending(p.second) == p.two));
  xenevtchn_unmask(p.second, port_of(p.two));
  say("xenevtchn_unmask", "and no more", yes(!readable(p.second)));
  fcntl(xenevtchn_fd(p.second), F_SETFL, O_NONBLOCK | fcntl(xenevtchn_fd(p.second), F_GETFL));
  say_status("xenevtchn_pending", "nothing, nonblocking", xenevtchn_pending(p.second));
  xenevtchn_notify(p.second, port_of(p.two));
  say("xenevtchn_notify", "the other way round", yes(readable(p.first)));
  say("xenevtchn_pending", "its port", yes(xenevtchn_pending(p.first) == p.one));
  xenevtchn_unmask(p.first, port_of(p.one));
}

void errors(Pair& p) {
  say_status("xenevtchn_notify", "a port of another handle",
             xenevtchn_notify(p.first, port_of(p.two)));
  say_status("xenevtchn_notify", "a port that is not open",
             xenevtchn_notify(p.first, never_opened));
  say_status("xenevtchn_unbind", "a port of another handle",
             xenevtchn_unbind(p.first, port_of(p.two)));
  say_status("xenevtchn_unbind", "a port beyond all", xenevtchn_unbind(p.first, beyond));
  say_status("xenevtchn_unmask", "a port of another handle",
             xenevtchn_unmask(p.first, port_of(p.two)));
  say_status("xenevtchn_bind_interdomain", "a port that is taken",
             xenevtchn_bind_interdomain(p.second, 0, port_of(p.one)));
  say_status("xenevtchn_bind_interdomain", "a port that is not open",
             xenevtchn_bind_interdomain(p.second, 0, never_opened));
  say_status("xenevtchn_bind_interdomain", "a port beyond all",
             xenevtchn_bind_interdomain(p.second, 0, beyond));
  say_status("xenevtchn_bind_interdomain", "a domain that is not there",
             xenevtchn_bind_interdomain(p.second, 0x7000, 1));
  say_status("xenevtchn_bind_virq", "one that does not exist", xenevtchn_bind_virq(p.first, 1000));
}

void close_and_bind_again(Pair& p) {
  say_status("xenevtchn_unbind", "one end", xenevtchn_unbind(p.second, port_of(p.two)));
  say_status("xenevtchn_notify", "the end that is left", xenevtchn_notify(p.first, port_of(p.one)));
  say_status("xenevtchn_notify", "the end that is gone",
             xenevtchn_notify(p.second, port_of(p.two)));
  p.two = xenevtchn_bind_interdomain(p.second, 0, port_of(p.one));
  say_status("xenevtchn_bind_interdomain", "again, to the end that is left", p.two);
  while (readable(p.second)) xenevtchn_unmask(p.second, port_of(xenevtchn_pending(p.second)));
  xenevtchn_notify(p.first, port_of(p.one));
  say("xenevtchn_notify", "it leads there again", yes(readable(p.second)));
  xenevtchn_close(p.second);
  p.second = xenevtchn_open(nullptr, 0);
  p.two = xenevtchn_bind_interdomain(p.second, 0, port_of(p.one));
  say_status("xenevtchn_bind_interdomain", "after the other handle was closed", p.two);
}

void restricted() {
  xenevtchn_handle* handle = xenevtchn_open(nullptr, 0);
  say_status("xenevtchn_restrict", "to domain 5", xenevtchn_restrict(handle, 5));
  say_status("xenevtchn_restrict", "a second time", xenevtchn_restrict(handle, 5));
  say_status("xenevtchn_bind_unbound_port", "for another domain then",
             xenevtchn_bind_unbound_port(handle, 0));
  say_status("xenevtchn_bind_virq", "then", xenevtchn_bind_virq(handle, 2));
  xenevtchn_close(handle);
}

// A handle that an exec would keep, made anew from its descriptor.
void from_descriptor() {
  xenevtchn_handle* handle = xenevtchn_open(nullptr, XENEVTCHN_NO_CLOEXEC);
  const int fd = xenevtchn_fd(handle);
  say("xenevtchn_open", "inherited by exec", yes((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0));
  xenevtchn_handle* other = xenevtchn_fdopen(nullptr, fd, 0);
  say_address("xenevtchn_fdopen", "of a handle's descriptor", other);
  say("xenevtchn_fdopen", "the same descriptor", yes(xenevtchn_fd(other) == fd));
  say_status("xenevtchn_bind_unbound_port", "with it", xenevtchn_bind_unbound_port(other, 0));
  say_address("xenevtchn_fdopen", "with flags it does not take",
              xenevtchn_fdopen(nullptr, fd, XENEVTCHN_NO_CLOEXEC));
  xenevtchn_close(other);
}

}  // namespace

void events() {
  {
    Pair pair;
    notify_and_mask(pair);
    errors(pair);
    close_and_bind_again(pair);
  }
  restricted();
  from_descriptor();
}

}  // namespace conformance
