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

// Entries of the list that a request names; 0: more than a list may have.
uint32_t entries_of(const netif::ControlRequest& request) {
  return request.data[2] <= netif::static_grants_per_list ? request.data[2] : 0;
}

std::span<std::byte> bytes_of(std::vector<netif::StaticGrant>& list) {
  return std::as_writable_bytes(std::span(list));
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
    made->forget();
  } else {
    made->hash_.restore();
    made->hashing_ = made->hash_.hashing();
    if (made->hashing_)
      for (const auto& use : made->hashing_for_each()) made->place_.worker.post(use);
    made->restore_staging();
    made->place_.events.channels().notify(made->port_.port());  // answers may have been lost
  }
  made->serve_later(pause_min);  // what the guest asked before we came
  return made;
}

// A queue's pages are a file of their own, the first's as if there were no others.
void ControlRing::make_staging() {
  const auto count = static_cast<uint32_t>(queues_.size());
  for (uint32_t number = 0; number < count; ++number) {
    std::string file = place_.file;
    if (!file.empty() && number > 0) file += fmt::format("-{}", number);
    staged_.push_back(
        {.staging = std::make_unique<Staging>(place_.grants, place_.queue.domain, file,
                                              Staging::pages_of_queue_max(count)),
         .table = {}});
  }
}

void ControlRing::restore_staging() {
  std::vector<WorkerLink::What> uses;
  for (size_t number = 0; number < queues_.size(); ++number) {
    Staged& staged = staged_[number];
    staged.staging->restore();
    staged.table = staged.staging->table();
    if (staged.table) uses.push_back(UseStaging{queues_[number], staged.table.get()});
  }
  if (!uses.empty()) hand_over(uses, nullptr, [] {});
}

size_t ControlRing::staged_pages() const {
  size_t pages = 0;
  for (const auto& staged : staged_) pages += staged.staging->count();
  return pages;
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
    case XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING:
    case XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING:
      return handle_pages(request);
    default:
      return handle_hash(request);
  }
}

// The pages of one queue, which the request names.
void ControlRing::handle_pages(const Request& request) {
  const uint32_t queue = request.data[0];
  if (queue >= queues_.size()) return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  if (request.type == XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE)
    return answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS, staged_[queue].staging->pages_max());
  if (request.type == XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING) return add_pages(request, queue);
  remove_pages(request, queue);
}

// Requests to set something are answered once the worker does as they say.
void ControlRing::handle_hash(const Request& request) {
  uint32_t status = XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED, types = 0;
  switch (request.type) {
    case XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS:
      status = hash_.get_types(types);
      return answer(request, status, types);
    case XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE:
      return answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS, HashSettings::mapping_entries_max);
    case XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM:
      status = hash_.set_algorithm(request.data[0]);
      break;
    case XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS:
      status = hash_.set_types(request.data[0]);
      break;
    case XEN_NETIF_CTRL_TYPE_SET_HASH_KEY:
      status = set_key(request);
      break;
    case XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE:
      status = hash_.set_mapping_size(request.data[0]);
      break;
    case XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING:
      status = set_mapping(request);
      break;
    default:
      break;
  }
  if (status != XEN_NETIF_CTRL_STATUS_SUCCESS) return answer(request, status);
  use_hashing([this, request] { answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS); });
}

uint32_t ControlRing::set_key(const Request& request) {
  const uint32_t bytes = request.data[1];
  if (const uint32_t status = HashControl::check_key(bytes); status != 0) return status;
  std::vector<uint8_t> key(bytes);
  if (!copy(CopyPlan::Direction::from_guest, request.data[0],
            std::as_writable_bytes(std::span(key))))
    return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
  hash_.set_key(key);
  return XEN_NETIF_CTRL_STATUS_SUCCESS;
}

uint32_t ControlRing::set_mapping(const Request& request) {
  const uint32_t entries = request.data[1], offset = request.data[2];
  if (const uint32_t status = hash_.check_mapping(offset, entries); status != 0) return status;
  std::vector<uint32_t> queues(entries);
  if (!copy(CopyPlan::Direction::from_guest, request.data[0],
            std::as_writable_bytes(std::span(queues))))
    return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
  return hash_.set_mapping(offset, queues);
}

// Copies from, or to, the start of the page that a request names, once. Of no bytes the page is
// nobody's.
bool ControlRing::copy(CopyPlan::Direction direction, uint32_t reference,
                       std::span<std::byte> bytes) {
  if (bytes.empty()) return true;
  CopyPlan plan(direction, 2);
  plan.begin_vif(place_.queue.domain);
  if (!plan.add(reference, 0, bytes.data(), static_cast<uint32_t>(bytes.size()))) return false;
  plan.run(place_.grants);
  return plan.ok(0, plan.count());
}

void ControlRing::add_pages(const Request& request, uint32_t queue) {
  std::vector<netif::StaticGrant> list(entries_of(request));
  if (list.empty() || !copy(CopyPlan::Direction::from_guest, request.data[1], bytes_of(list)) ||
      !staged_[queue].staging->add(list))
    return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  use_staging(queue, [this, request] { answer(request, XEN_NETIF_CTRL_STATUS_SUCCESS); });
}

// The guest takes its grants back once it has the answer: nothing is mapped by then.
void ControlRing::remove_pages(const Request& request, uint32_t queue) {
  auto list = std::make_shared<std::vector<netif::StaticGrant>>(entries_of(request));
  if (list->empty() || !copy(CopyPlan::Direction::from_guest, request.data[1], bytes_of(*list)))
    return answer(request, XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  auto removed = std::make_shared<std::vector<MappedPage>>(staged_[queue].staging->remove(*list));
  use_staging(queue, [this, request, list, removed] {
    const auto count = static_cast<uint32_t>(removed->size());
    removed->clear();
    const bool told = copy(CopyPlan::Direction::to_guest, request.data[1], bytes_of(*list));
    answer(request, told ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
           count);
  });
}

// Hands the worker a table of what is mapped of a queue now.
void ControlRing::use_staging(uint32_t queue, const std::function<void()>& done) {
  Staged& staged = staged_[queue];
  auto replaced = std::exchange(staged.table, staged.staging->table());
  hand_over({UseStaging{queues_[queue], staged.table.get()}}, std::move(replaced), done);
}

void ControlRing::use_hashing(const std::function<void()>& done) {
  auto replaced = std::exchange(hashing_, hash_.hashing());
  hand_over(hashing_for_each(), std::move(replaced), done);
}

std::vector<WorkerLink::What> ControlRing::hashing_for_each() const {
  std::vector<WorkerLink::What> uses;
  for (GuestQueue* queue : queues_) uses.push_back(UseHashing{queue, hashing_.get()});
  return uses;
}

// `done` when all are acked: nobody has anything else any more, and `replaced` may go.
void ControlRing::hand_over(const std::vector<WorkerLink::What>& uses,
                            std::shared_ptr<const void> replaced,
                            const std::function<void()>& done) {
  waits_for_worker_ = true;
  const auto left = std::make_shared<size_t>(uses.size());
  for (const auto& use : uses)
    place_.worker.post(use, [this, left, replaced, done] {
      if (--*left > 0) return;
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
