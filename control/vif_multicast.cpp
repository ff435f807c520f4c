// What a vif does about its guest's multicast control, and has its port's NIC let through.
#include <fmt/format.h>

#include <utility>

#include "control/quote.hpp"
#include "control/vif_session.hpp"
#include "lib/base/log.hpp"

namespace netback {

std::string VifSession::multicast_path() const {
  return fmt::format("{}/{}", frontend_, netif::keys::request_multicast_control);
}

// The watch's first event makes up for what the guest wrote since `requested` was read.
void VifSession::watch_multicast(bool requested, bool resume) {
  const std::string& directory = world_.state_directory;
  multicast_ = std::make_unique<MulticastControl>(
      connection_->multicast(), plan_->settings.rx_filter.value,
      directory.empty() ? "" : fmt::format("{}/multicast-{}", directory, id_.text()));
  multicast_->begin(requested, resume);
  blamed_for_multicast_ = false;
  world_.filters.add({.name = id_.text(),
                      .port = plan_->port,
                      .mac = plan_->queue.mac,
                      .worker = connection_->queue().worker,
                      .filtered = plan_->settings.rx_filter.value,
                      .set_physaddr = plan_->settings.set_physaddr.value,
                      .groups = &connection_->multicast()});
  const Status watched = world_.store.watch(multicast_path(), "frontend:" + id_.text());
  if (!watched) log::error("vif {}: {}", id_.text(), watched.error().message);
}

void VifSession::look_at_multicast() {
  if (!multicast_) return;
  const auto text = world_.store.read(multicast_path());
  world_.filters.look_soon();
  if (multicast_->request(text) || std::exchange(blamed_for_multicast_, true)) return;
  log::warn("vif {}: {} is neither 0 nor 1: {}: all multicast groups go to the guest", id_.text(),
            netif::keys::request_multicast_control, in_quotes(*text));
}

}  // namespace netback
