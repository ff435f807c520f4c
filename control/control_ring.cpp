#include "control/control_ring.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>

namespace netback {
namespace {

using namespace std::chrono_literals;

constexpr int events_at_once = 64;    // then others of the loop have a turn
constexpr int requests_at_once = 16;  // of one ring
// A guest that kicks and asks as fast as it can gets at most a tenth of the control thread.
constexpr auto pause_min = 1ms;
constexpr int pause_per_work = 9;

// Entries of the list that a request names; 0: no such queue, or more than a list may have.
uint32_t entries_of(const netif::ControlRequest& request) {
  const bool possible = request.data[0] == 0 && request.data[2] <= netif::static_grants_per_list;
  return possible ? request.data[2] : 0;
}

Loop::Clock::duration pause_after(Loop::Clock::time_point started) {
  return std::max<Loop::Clock::duration>(pause_min,
                                         (Loop::Clock::now() - started) * pause_per_work);
}

}  // namespace

Status ControlEvents::start() {
  started_ = true;
  return loop_.add(
      events_.fd(), [this](uint32_t) { handle(); }, EPOLLIN);
}

void ControlEvents::stop() {
  if (std::exchange(started_, false)) loop_.remove(events_.fd());
}

// A port stays masked until its ring was served.
void ControlEvents::handle() {
  for (int i = 0; i < events_at_once; ++i) {
    const auto port = events_.next();
    if (!port) return;
    if (const auto found = rings_.find(*port); found != rings_.end()) found->second->handle_event();
  }
}

Result<std::unique_ptr<ControlRing>> ControlRing::open(Place place, const Agreement& agreement,
                                                       bool resume) {
  std::unique_ptr<ControlRing> made(new ControlRing(std::move(place)));
  if (Status status = made->attach(agreement); !status) return status.error();
  if (!resume) {
    made->staging_.forget();
  } else {
    made->staging_.restore();
    if (made->staging_.count() > 0) made->use_staging([] {});
    made->place_.events.channels().notify(made->port_.port());  // answers may have been lost
  }
  made->serve_later(pause_min);  // what the guest asked before we came
  return made;
}

Status ControlRing::attach(const Agreement& agreement) {
  const uint16_t domain = place_.queue.domain;
  auto page = place_.grants.map(domain, agreement.control_reference);
  if (!page) return page.error();
  page_ = std::move(page).value();
  auto ring = ControlBackRing::attach(page_.data());
  if (!ring) return Error{fmt::format("{}: {}", netif::keys::ctrl_ring_ref, ring.error().message)};
  ring_ = std::move(ring).value();
  EventChannels& channels = place_.events.channels();
  auto port = channels.bind(domain, agreement.control_channel);
  if (!port) return port.error();
  port_ = BoundPort(&channels, port.value());
  place_.events.add(port_.port(), *this);
  return Done{};
}

ControlRing::~ControlRing() {
  stop();
  if (port_.port() != 0) place_.events.remove(port_.port());
}

void ControlRing::stop() {
  stopped_ = true;
  if (timer_) place_.events.loop().cancel(*std::exchange(timer_, {}));
}

void ControlRing::handle_event() {
  if (!timer_) serve();
}

// Outline: a few requests; then a pause, however many events or requests wait.
void ControlRing::serve() {
  const auto started = Loop::Clock::now();
  for (int i = 0; i < requests_at_once && !waits_for_worker_ && !stopped_; ++i) {
    const auto available = ring_->available();
    if (!available) {
      stop();
      return place_.broken(ring_->next_slot());
    }
    if (*available == 0 && !ring_->arm()) break;
    Request request;
    ring_->copy_out(0, std::span(&request, 1));
    ring_->take(1);
    handle(request);
  }
  serve_later(pause_after(started));
}

// Not before what was asked for already.
void ControlRing::serve_later(Loop::Clock::duration delay) {
  const auto due = Loop::Clock::now() + delay;
  if (stopped_ || (timer_ && due <= due_)) return;
  if (timer_) place_.events.loop().cancel(*timer_);
  due_ = due;
  timer_ = place_.events.loop().at(due, [this] {
    timer_.reset();
    if (waits_for_worker_) return;
    place_.events.channels().unmask(port_.port());
    if (ring_->arm()) serve();
  });
}

void ControlRing::handle(const Request& request) {
  switch (request.type) {
    case XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE:
      if (request.data[0] != 0) return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
      return answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS, StagingTable::pages_max);
    case XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING:
      return add_pages(request);
    case XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING:
      return remove_pages(request);
    default:
      return answer(request, XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);
  }
}

// Copies the list that a request names, once, or what became of it back.
bool ControlRing::copy_list(CopyPlan::Direction direction, const Request& request,
                            std::span<netif::StaticGrant> list) {
  CopyPlan plan(direction, 2);
  plan.begin_vif(place_.queue.domain);
  if (!plan.add(request.data[1], 0, list.data(), static_cast<uint32_t>(list.size_bytes())))
    return false;
  plan.run(place_.grants);
  return plan.ok(0, plan.count());
}

void ControlRing::add_pages(const Request& request) {
  std::vector<netif::StaticGrant> list(entries_of(request));
  if (list.empty() || !copy_list(CopyPlan::Direction::from_guest, request, list) ||
      !staging_.add(list))
    return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  use_staging([this, request] { answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS); });
}

// The guest takes its grants back once it has the answer: nothing is mapped by then.
void ControlRing::remove_pages(const Request& request) {
  auto list = std::make_shared<std::vector<netif::StaticGrant>>(entries_of(request));
  if (list->empty() || !copy_list(CopyPlan::Direction::from_guest, request, *list))
    return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  auto removed = std::make_shared<std::vector<MappedPage>>(staging_.remove(*list));
  use_staging([this, request, list, removed] {
    const auto count = static_cast<uint32_t>(removed->size());
    removed->clear();
    const bool told = copy_list(CopyPlan::Direction::to_guest, request, *list);
    answer(request, told ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
           count);
  });
}

// Hands the worker a table of what is mapped now; `done` when it has no other any more.
void ControlRing::use_staging(std::function<void()> done) {
  auto old = std::exchange(table_, staging_.table());
  waits_for_worker_ = true;
  place_.worker.post(UseStaging{&place_.queue, table_.get()},
                     [this, old = std::move(old), done = std::move(done)] {
                       waits_for_worker_ = false;
                       const auto started = Loop::Clock::now();
                       done();
                       serve_later(pause_after(started));
                     });
}

void ControlRing::answer(const Request& request, uint32_t status, uint32_t data) {
  ring_->answer({.id = request.id, .type = request.type, .status = status, .data = data});
  if (ring_->publish()) place_.events.channels().notify(port_.port());
}

}  // namespace netback
