#include "control/vif_watcher.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cctype>

#include "lib/base/log.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr char vifs_token[] = "vifs";
constexpr char release_path[] = "@releaseDomain";
constexpr char release_token[] = "release";
constexpr std::string_view frontend_token = "frontend:";
constexpr int vifs_at_once = 16;  // then acks, timers and requests have a turn

// Splits at the first `separator`; the second part is empty when there is none.
std::pair<std::string_view, std::string_view> split(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace

std::optional<VifId> parse_vif_id(std::string_view domain, std::string_view devid) {
  const auto domain_number = parse_number<uint16_t>(domain);
  const auto devid_number = parse_number<uint32_t>(devid);
  if (!domain_number || !devid_number) return std::nullopt;
  return VifId{*domain_number, *devid_number};
}

VifWatcher::VifWatcher(VifWorld& world) : world_(world) {
  world_.wake = [this](const VifId& id) { wake(id); };
  free_indices_.reserve(limits::vifs_max);
  for (uint32_t i = limits::vifs_max; i > 0; --i)
    free_indices_.push_back(static_cast<uint16_t>(i - 1));
}

VifWatcher::~VifWatcher() {
  stop();
}

Status VifWatcher::start() {
  const auto domain = world_.store.read("domid");
  const auto number = domain ? parse_number<uint32_t>(*domain) : std::nullopt;
  if (!number) return Error{"xenstore does not say which domain this is", "run xen-init-dom0"};
  backends_ = world_.store.domain_path(*number) + "/backend/vif";
  if (Status status = world_.store.watch(backends_, vifs_token); !status) return status;
  started_ = true;
  if (Status status = world_.store.watch(release_path, release_token); !status) return status;
  return world_.loop.add(
      world_.store.fd(), [this](uint32_t) { handle_store(); }, EPOLLIN);
}

void VifWatcher::stop() {
  if (!std::exchange(started_, false)) return;
  world_.loop.remove(world_.store.fd());
  world_.store.unwatch(release_path, release_token);
  world_.store.unwatch(backends_, vifs_token);
}

void VifWatcher::handle_store() {
  const Status status = world_.store.drain_watches(
      [this](std::string_view path, std::string_view token) { note(path, token); });
  if (!status) {  // what is connected goes on; nothing new can come
    log::error("{}; restart the daemon once it is back", status.error().message);
    world_.loop.remove(world_.store.fd());
    return;
  }
  look_at_dirty();
}

void VifWatcher::note(std::string_view path, std::string_view token) {
  if (token == release_token) {
    look_for_domains_ = true;
  } else if (token.starts_with(frontend_token)) {
    const auto [domain, devid] = split(token.substr(frontend_token.size()), '.');
    if (const auto id = parse_vif_id(domain, devid)) dirty_.insert(*id);
  } else if (path.starts_with(backends_)) {
    path.remove_prefix(std::min(backends_.size() + 1, path.size()));
    const auto [domain, rest] = split(path, '/');
    const auto [devid, key] = split(rest, '/');
    if (const auto id = parse_vif_id(domain, devid)) {
      const auto known = key == netif::keys::rate ? sessions_.find(*id) : sessions_.end();
      if (known != sessions_.end()) known->second->note_rate();
      if (known != sessions_.end() || VifSession::depends_on(key)) dirty_.insert(*id);
    } else if (const auto number = parse_number<uint16_t>(domain)) {
      look_in_.insert(*number);  // the directory above its vifs: made, or removed with all of them
    } else {
      look_everywhere_ = true;
    }
  }
}

// Where there are vifs, and where we know of some.
void VifWatcher::look_everywhere() {
  for (const auto& domain : world_.store.directory(backends_))
    if (const auto number = parse_number<uint16_t>(domain)) look_in_.insert(*number);
  for (const auto& [id, session] : sessions_) look_in_.insert(id.domain);
}

// Vifs that came and vifs that are gone. What else happens to one makes events of its own.
void VifWatcher::look_in(uint16_t domain) {
  std::set<VifId> there;
  const std::string number = std::to_string(domain);
  for (const auto& devid : world_.store.directory(backends_ + "/" + number))
    if (const auto id = parse_vif_id(number, devid)) there.insert(*id);
  for (const VifId& id : there)
    if (!sessions_.contains(id)) dirty_.insert(id);
  for (auto at = sessions_.lower_bound({.domain = domain});
       at != sessions_.end() && at->first.domain == domain; ++at)
    if (!there.contains(at->first)) dirty_.insert(at->first);
}

void VifWatcher::look_for_domains() {
  std::map<uint16_t, bool> introduced;  // asked once a domain, however many vifs it has
  for (const auto& [id, session] : sessions_) {
    const auto [known, fresh] = introduced.try_emplace(id.domain, false);
    if (fresh) known->second = world_.store.is_introduced(id.domain);
    if (session->note_domain(known->second)) dirty_.insert(id);
  }
}

void VifWatcher::wake(const VifId& id) {
  dirty_.insert(id);
  look_soon();
}

void VifWatcher::look_soon() {
  if (std::exchange(woken_, true)) return;
  world_.loop.defer([this] {
    woken_ = false;
    look_at_dirty();
  });
}

// Outline: those that were dirty first have their turn first, a few of them in a round of the loop.
void VifWatcher::look_at_dirty() {
  if (draining_) return;
  if (std::exchange(look_everywhere_, false)) look_everywhere();
  for (const uint16_t domain : std::exchange(look_in_, {})) look_in(domain);
  if (std::exchange(look_for_domains_, false)) look_for_domains();
  if (due_.empty()) due_ = std::exchange(dirty_, {});
  for (int i = 0; i < vifs_at_once && !due_.empty(); ++i)
    look_at(due_.extract(due_.begin()).value());
  if (!due_.empty() || !dirty_.empty()) look_soon();
}

void VifWatcher::look_at(const VifId& id) {
  if (!sessions_.contains(id)) appear(id);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  found->second->advance();
  if (!found->second->over()) return;
  log::info("vif {}: gone", id.text());
  free_indices_.push_back(found->second->index());
  sessions_.erase(found);
}

void VifWatcher::appear(const VifId& id) {
  const std::string directory = fmt::format("{}/{}/{}", backends_, id.domain, id.devid);
  // Made in one transaction by the toolstack; what has neither is being removed.
  if (!world_.store.read(directory + "/" + netif::keys::frontend) ||
      !world_.store.read(directory + "/" + netif::keys::state))
    return;
  if (free_indices_.empty())
    return log::error("vif {}: not served: there are {} already", id.text(), limits::vifs_max);
  const uint16_t index = free_indices_.back();
  free_indices_.pop_back();
  sessions_.emplace(id, std::make_unique<VifSession>(world_, id, directory, index));
}

void VifWatcher::drain(std::function<void()> done) {
  draining_ = true;
  stop();
  // Counts one more than there are, so that those that are done at once do not end it early.
  const auto left = std::make_shared<size_t>(sessions_.size() + 1);
  const auto one_less = [left, done = std::move(done)] {
    if (--*left == 0) done();
  };
  for (const auto& [id, session] : sessions_) session->drain(one_less);
  one_less();
}

void VifWatcher::quarantine(const Quarantined& report) {
  const auto has_queue = [&](const Connection* connection) {
    return connection != nullptr &&
           std::ranges::find(connection->queues(), report.queue) != connection->queues().end();
  };
  for (const auto& [id, session] : sessions_)
    if (has_queue(session->connection())) return session->quarantine(report);
}

void VifWatcher::port_link_changed(const Port& port) {
  for (const auto& [id, session] : sessions_)
    if (session->plan() && session->plan()->port == &port) session->show_link();
}

std::vector<VifSession*> VifWatcher::vifs() const {
  std::vector<VifSession*> all;
  for (const auto& [id, session] : sessions_) all.push_back(session.get());
  return all;
}

VifSession* VifWatcher::find(const std::string& name) const {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const size_t dot = name.rfind('.');
  VifSession* by_mac = nullptr;
  for (const auto& [id, session] : sessions_) {
    if (name == id.text()) return session.get();
    if (dot != std::string::npos && name.substr(0, dot) == session->identity().domain &&
        name.substr(dot + 1) == std::to_string(id.devid))
      return session.get();
    const bool same_mac = session->plan() ? lower == session->plan()->settings.mac.value
                                          : lower == session->identity().mac;
    if (same_mac && (by_mac == nullptr || session->connection() != nullptr)) by_mac = session.get();
  }
  return by_mac;
}

}  // namespace netback
