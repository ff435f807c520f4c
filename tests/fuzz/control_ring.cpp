// A guest's requests on its control ring, through a vif of a whole control thread. The script's
// letters are in do_step().
#include "control/control_ring.hpp"

#include <fmt/format.h>

#include "lib/base/log.hpp"
#include "tests/fuzz/dpdk.hpp"
#include "tests/fuzz/quick_clock.hpp"
#include "tests/fuzz/reached.hpp"
#include "tests/fuzz/script.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr int steps_max = 100;
constexpr uint16_t first_domain = 5;
constexpr uint32_t pages = 20;
constexpr int connected = 4;
constexpr uint32_t looks_max = 400;  // of the loop, for an answer
constexpr uint32_t queues = 2;
constexpr int runs_per_host = 45;  // its references of rings go on from 101, to the guest's own

std::string name_of(uint32_t type, uint32_t status) {
  return fmt::format("request of type {} answered with status {}", type, status);
}

// Every status that each request can be answered with.
constexpr uint32_t too_large = XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW;
const std::pair<uint16_t, std::vector<uint32_t>> answers[] = {
    {XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS, {success, not_supported}},
    {XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, {success, invalid}},
    {XEN_NETIF_CTRL_TYPE_SET_HASH_KEY, {success, invalid}},
    {XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE, {success}},
    {XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE, {success, invalid}},
    {XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, {success, invalid, too_large}},
    {XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, {success, invalid}},
    {get_size, {success, invalid}},
    {add_pages, {success, invalid}},
    {delete_pages, {success, invalid}}};

class Run {
 public:
  Run(ControlHost& host, uint16_t domain) : host_(host), guest_(host, domain), domain_(domain) {
    guest_.connect(queues);
    list_ = guest_.pages(pages);
    list_.insert(list_.end(), 492, {});
  }
  ~Run() {
    host_.worker_runs = true;
    host_.nodes.remove(ControlHost::frontend(guest_.id));
    host_.nodes.remove(ControlHost::backend(guest_.id));
    host_.nodes.release(domain_);
    host_.settle();
    NETBACK_CHECK(xen().mapped(domain_) == 0);
    NETBACK_CHECK(xen().bound.empty());
    NETBACK_CHECK(host_.link->unacked() == 0);
    NETBACK_CHECK(xen().impossible_copies == 0);
    xen().grants.clear();
    host_.nodes.commits.clear();
  }

  void run(fuzz::Script script) {
    char letter;
    for (int i = 0; i < steps_max && script.next(letter); ++i) do_step(letter, script);
    host_.worker_runs = true;
    serve();
    if (lied_)
      look_at_lie();
    else
      NETBACK_CHECK(asked_.empty());
  }

 private:
  void look_at_lie() {
    for (uint32_t i = 0; i < looks_max && host_.state(guest_.id) == connected; ++i) look();
    fuzz::reach(host_.state(guest_.id) == connected ? "a lie that is none" : "impossible producer");
  }
  void do_step(char letter, fuzz::Script& script) {
    switch (letter) {
      case 'q':
        return ask(script);  // type, three words of data
      case 'l':
        return put_entry(script);  // place in the list, page or reference, flags
      case 'z':
        return list_.assign(list_.size(), {});  // what the page has is zeros
      case 'n':
        return name_list(script);  // type, entries, queue: a request that names the list
      case 'k':
        return name_page(script);  // type, numbers behind its reference: likewise, of hashing
      case 't':
        return serve();  // all of it is answered
      case 'j':
        return lie(script.number(129));  // so many requests more than were put
      case 'r':
        return revoke(script.number());  // a page
      case 'o':
        xen().grants[{domain_, ControlGuest::list_reference}].read_only = true;
        return;
      case 'e':
        xen().failing_domain = domain_;
        return;
      case 'u':
        host_.worker_runs = !host_.worker_runs;
        return;
      default:
        return;
    }
  }

  void ask(fuzz::Script& script) {
    const auto type = static_cast<uint16_t>(script.number());
    const uint32_t first = script.number(), second = script.number(), third = script.number();
    put(type, {first, second, third});
  }
  void name_list(fuzz::Script& script) {
    const auto type = static_cast<uint16_t>(script.number());
    const uint32_t entries = script.number(1), queue = script.number();
    put(type, {queue, ControlGuest::list_reference, entries});
  }
  void name_page(fuzz::Script& script) {
    const auto type = static_cast<uint16_t>(script.number());
    const uint32_t first = script.number(), second = script.number();
    put(type, {ControlGuest::list_reference, first, second});
  }
  void put(uint16_t type, Data data) {
    if (lied_ || guest_.ring.free_slots() == 0) return;
    guest_.put_list(list_);
    asked_.push_back({guest_.put(type, data), type, data[2]});
  }
  void put_entry(fuzz::Script& script) {
    auto& entry = list_[script.number() % list_.size()];
    const uint32_t reference = script.number();
    entry = {.ref = reference < pages ? ControlGuest::first_page + reference : reference,
             .flags = static_cast<uint16_t>(script.number()),
             .status = 77};
  }
  void revoke(uint32_t page) const { xen().revoke(domain_, ControlGuest::first_page + page); }
  void lie(uint32_t more) {
    guest_.push();
    guest_.ring.req_prod() += more;
    guest_.kick();
    lied_ = true;
  }

  void serve() {
    if (!lied_) guest_.push();
    const uint32_t mapped = guest_.mapped();
    const bool alone = asked_.size() == 1;
    for (uint32_t i = 0; i < looks_max && !asked_.empty() && host_.worker_runs; ++i) {
      look();
      while (const auto answer = guest_.ring.get()) {
        if (lied_ && asked_.empty()) continue;  // what the lie made a request of
        check(*answer, alone ? &mapped : nullptr);
      }
    }
    NETBACK_CHECK(guest_.mapped() <= queues * StagingTable::pages_max);
  }
  // Longer than a pause of the control ring's.
  void look() {
    fuzz::pass_time(std::chrono::milliseconds(2));
    host_.settle();
  }
  // The oldest that is not answered; `mapped`: pages before, when no other request was under way.
  void check(const netif::ControlResponse& answer, const uint32_t* mapped) {
    NETBACK_CHECK(!asked_.empty());
    const Asked asked = asked_.front();
    asked_.pop_front();
    NETBACK_CHECK(answer.id == asked.id && answer.type == asked.type);
    NETBACK_CHECK(answer.status <= XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW);
    fuzz::reach(name_of(asked.type, answer.status));
    if (mapped == nullptr) return;
    if (asked.type == add_pages && answer.status != success)
      NETBACK_CHECK(guest_.mapped() == *mapped);
    if (asked.type == delete_pages && answer.status == success) {
      uint32_t told = 0;
      for (const uint32_t status : guest_.statuses(asked.entries)) told += status == success;
      NETBACK_CHECK(answer.data == told);
    }
  }

  struct Asked {
    uint16_t id, type;
    uint32_t entries;
  };
  ControlHost& host_;
  ControlGuest guest_;
  const uint16_t domain_;
  List list_;
  std::deque<Asked> asked_;
  bool lied_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_dpdk();
  log::start("error");
  for (const auto& [type, statuses] : answers)
    for (const uint32_t status : statuses) fuzz::expect(name_of(type, status));
  fuzz::expect(name_of(0, not_supported));
  fuzz::expect(name_of(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING + 1, not_supported));
  fuzz::expect("impossible producer");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ControlHost* host = nullptr;  // the last one stays: its fakes end before it could
  static int runs = 0;
  if (runs++ % runs_per_host == 0) {
    delete host;
    host = new ControlHost;
  }
  xen().failing_domain = -1;
  Run(*host, static_cast<uint16_t>(first_domain + runs % runs_per_host))
      .run(fuzz::Script(data, size));
  return 0;
}
