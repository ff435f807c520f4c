// Sharing and mapping.
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/xen/c_api.hpp"
#include "lib/xenlab/conformance/transcript.hpp"

namespace conformance {
namespace {

constexpr uint32_t page = 4096, bad_reference = 1U << 20, bad_domain = 0x7000;
constexpr uint32_t none = UINT32_MAX;
constexpr int both = PROT_READ | PROT_WRITE;

void share_and_map(xengntshr_handle* sharing, xengnttab_handle* mapping) {
  uint32_t refs[3] = {}, read_only = 0;
  auto* shared = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 3, refs, 1));
  say_address("xengntshr_share_pages", "three, writable", shared);
  say("xengntshr_share_pages", "references differ and are not reserved",
      yes(refs[0] != refs[1] && refs[1] != refs[2] && std::min({refs[0], refs[1], refs[2]}) >= 8));
  say("xengntshr_share_pages", "pages are zero",
      yes(std::all_of(shared, shared + 3 * page, [](uint8_t b) { return b == 0; })));
  auto* frozen = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 1, &read_only, 0));
  say_address("xengntshr_share_pages", "one, read-only", frozen);

  auto* one = static_cast<uint8_t*>(xengnttab_map_grant_ref(mapping, 0, refs[0], both));
  say_address("xengnttab_map_grant_ref", "writable", one);
  one[7] = 42;
  say("xengnttab_map_grant_ref", "what is written there is seen here", yes(shared[7] == 42));
  shared[8] = 43;
  say("xengnttab_map_grant_ref", "and the other way round", yes(one[8] == 43));
  void* again = xengnttab_map_grant_ref(mapping, 0, refs[0], PROT_READ);
  say_address("xengnttab_map_grant_ref", "a second time, to read", again);
  void* read = xengnttab_map_grant_ref(mapping, 0, read_only, PROT_READ);
  say_address("xengnttab_map_grant_ref", "read-only, to read", read);
  say_address("xengnttab_map_grant_ref", "read-only, to write",
              xengnttab_map_grant_ref(mapping, 0, read_only, both));
  say_address("xengnttab_map_grant_ref", "a reference that was never given",
              xengnttab_map_grant_ref(mapping, 0, bad_reference, both));
  say_address("xengnttab_map_grant_ref", "a domain that is not there",
              xengnttab_map_grant_ref(mapping, bad_domain, refs[0], both));

  say_status("xengnttab_unmap", "another count", xengnttab_unmap(mapping, one, 2));
  say_status("xengnttab_unmap", "an address that is not mapped",
             xengnttab_unmap(mapping, one + (size_t{64} << 20), 1));
  for (void* start : {static_cast<void*>(one), again, read})
    say_status("xengnttab_unmap", "one page", xengnttab_unmap(mapping, start, 1));
  say_status("xengnttab_unmap", "a second time", xengnttab_unmap(mapping, one, 1));
  std::memset(shared, 0xff, 3 * page);
  say_status("xengntshr_unshare", "three pages", xengntshr_unshare(sharing, shared, 3));
  say_address("xengnttab_map_grant_ref", "a reference that has ended",
              xengnttab_map_grant_ref(mapping, 0, refs[0], both));
  say_status("xengntshr_unshare", "one page", xengntshr_unshare(sharing, frozen, 1));
  uint32_t new_refs[4] = {};
  auto* anew = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 4, new_refs, 1));
  say("xengntshr_share_pages", "pages that were written to and given back are zero",
      yes(std::all_of(anew, anew + 4 * page, [](uint8_t b) { return b == 0; })));
  xengntshr_unshare(sharing, anew, 4);
}

void map_several(xengntshr_handle* sharing, xengnttab_handle* mapping) {
  uint32_t refs[3] = {}, domids[3] = {};
  auto* shared = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 3, refs, 1));
  for (uint32_t i = 0; i < 3; ++i) shared[i * page] = static_cast<uint8_t>(i + 1);
  const auto in_order = [](const uint8_t* start) {
    return yes(start[0] == 1 && start[page] == 2 && start[2 * page] == 3);
  };
  auto* all = static_cast<uint8_t*>(xengnttab_map_grant_refs(mapping, 3, domids, refs, both));
  say_address("xengnttab_map_grant_refs", "three", all);
  say("xengnttab_map_grant_refs", "side by side, in order", in_order(all));
  say_status("xengnttab_unmap", "three pages", xengnttab_unmap(mapping, all, 3));
  all = static_cast<uint8_t*>(xengnttab_map_domain_grant_refs(mapping, 3, 0, refs, both));
  say_address("xengnttab_map_domain_grant_refs", "three", all);
  say("xengnttab_map_domain_grant_refs", "side by side, in order", in_order(all));
  xengnttab_unmap(mapping, all, 3);
  const uint32_t good = std::exchange(refs[1], bad_reference);
  say_address("xengnttab_map_grant_refs", "one of three is bad",
              xengnttab_map_grant_refs(mapping, 3, domids, refs, both));
  say_address("xengnttab_map_domain_grant_refs", "one of three is bad",
              xengnttab_map_domain_grant_refs(mapping, 3, 0, refs, both));
  refs[1] = good;

  all = static_cast<uint8_t*>(xengnttab_map_domain_grant_refs(mapping, 3, 0, refs, both));
  xengntshr_unshare(sharing, shared, 3);
  say("xengntshr_unshare", "a page that is mapped elsewhere stays there", in_order(all));
  say_address("xengnttab_map_grant_ref", "a reference that has ended and is mapped",
              xengnttab_map_grant_ref(mapping, 0, refs[0], both));
  xengnttab_unmap(mapping, all, 3);
}

// Whether the port's event comes, which is then taken.
bool comes(xenevtchn_handle* events, int port) {
  pollfd event{xenevtchn_fd(events), POLLIN, 0};
  if (poll(&event, 1, 200) <= 0) return false;
  const int seen = xenevtchn_pending(events);
  xenevtchn_unmask(events, static_cast<evtchn_port_t>(seen));
  return seen == port;
}

void notices(xengntshr_handle* sharing, xengnttab_handle* mapping) {
  xenevtchn_handle* events = xenevtchn_open(nullptr, 0);
  const int ours = xenevtchn_bind_unbound_port(events, 0);
  const int theirs = xenevtchn_bind_interdomain(events, 0, static_cast<evtchn_port_t>(ours));
  comes(events, theirs);  // Xen raises a new end once
  const auto port = static_cast<evtchn_port_t>(theirs);
  uint32_t reference = 0;
  auto* shared =
      static_cast<uint8_t*>(xengntshr_share_page_notify(sharing, 0, &reference, 1, none, none));
  say_address("xengntshr_share_page_notify", "without a notice", shared);
  shared[100] = 1;
  void* mapped = xengnttab_map_grant_ref_notify(mapping, 0, reference, both, 100, port);
  say_address("xengnttab_map_grant_ref_notify", "a byte and a port", mapped);
  say_status("xengnttab_unmap", "with a notice", xengnttab_unmap(mapping, mapped, 1));
  say("xengnttab_map_grant_ref_notify", "the byte is cleared", yes(shared[100] == 0));
  say("xengnttab_map_grant_ref_notify", "the port's other end has an event",
      yes(comes(events, ours)));
  say_address("xengnttab_map_grant_ref_notify", "a byte beyond the page",
              xengnttab_map_grant_ref_notify(mapping, 0, reference, both, page, none));
  say_address("xengnttab_map_grant_ref_notify", "a bad reference",
              xengnttab_map_grant_ref_notify(mapping, 0, bad_reference, both, none, none));
  say_address("xengnttab_map_grant_ref_notify", "a byte of a page mapped to read",
              xengnttab_map_grant_ref_notify(mapping, 0, reference, PROT_READ, 100, none));
  xengntshr_unshare(sharing, shared, 1);

  shared = static_cast<uint8_t*>(xengntshr_share_page_notify(sharing, 0, &reference, 1, 200, port));
  say_address("xengntshr_share_page_notify", "a byte and a port", shared);
  auto* seen = static_cast<uint8_t*>(xengnttab_map_grant_ref(mapping, 0, reference, both));
  seen[200] = 1;
  xengntshr_unshare(sharing, shared, 1);
  say("xengntshr_share_page_notify", "the byte is cleared", yes(seen[200] == 0));
  say("xengntshr_share_page_notify", "the port's other end has an event", yes(comes(events, ours)));
  say_address("xengntshr_share_page_notify", "a byte beyond the page",
              xengntshr_share_page_notify(sharing, 0, &reference, 1, page, none));
  xengnttab_unmap(mapping, seen, 1);
  xenevtchn_close(events);
}

void buffers(xengnttab_handle* mapping) {
  uint32_t reference = bad_reference, fd = 0;
  say_status("xengnttab_dmabuf_exp_from_refs", "of a bad reference",
             xengnttab_dmabuf_exp_from_refs(mapping, 0, 0, 1, &reference, &fd));
  say_status("xengnttab_dmabuf_exp_wait_released", "of no buffer",
             xengnttab_dmabuf_exp_wait_released(mapping, none, 0));
  say_status("xengnttab_dmabuf_imp_to_refs", "of no buffer",
             xengnttab_dmabuf_imp_to_refs(mapping, 0, none, 1, &reference));
  say_status("xengnttab_dmabuf_imp_release", "of no buffer",
             xengnttab_dmabuf_imp_release(mapping, none));
}

}  // namespace

void grants() {
  xengntshr_handle* sharing = xengntshr_open(nullptr, 0);
  say_address("xengntshr_open", "", sharing);
  say("xengntshr_fd", "a descriptor", yes(xengntshr_fd(sharing) >= 0));
  xengnttab_handle* mapping = xengnttab_open(nullptr, 0);
  say_address("xengnttab_open", "", mapping);
  say("xengnttab_fd", "a descriptor", yes(xengnttab_fd(mapping) >= 0));
  say_status("xengnttab_set_max_grants", "16", xengnttab_set_max_grants(mapping, 16));
  share_and_map(sharing, mapping);
  map_several(sharing, mapping);
  notices(sharing, mapping);
  buffers(mapping);
  say_status("xengnttab_close", "", xengnttab_close(mapping));
  say_status("xengntshr_close", "", xengntshr_close(sharing));
}

}  // namespace conformance
