#include "control/connection.hpp"

#include <fmt/format.h>

#include <vector>

#include "control/ring_recovery.hpp"

namespace netback {
namespace {

VifSettings agreed_settings(VifSettings settings, const Agreement& agreement) {
  settings.takes_chains = agreement.takes_chains;
  settings.takes_blank_ipv4 = agreement.takes_blank_ipv4;
  settings.takes_blank_ipv6 = agreement.takes_blank_ipv6;
  settings.gso_tcpv4_offered = settings.gso_tcpv6_offered = true;  // offered_features()
  settings.takes_gso_tcpv4 = agreement.takes_gso_tcpv4;
  settings.takes_gso_tcpv6 = agreement.takes_gso_tcpv6;
  settings.stall_ms =
      agreement.notifies_of_buffers ? limits::stall_ms : limits::stall_ms_without_rx_notify;
  return settings;
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(Grants& grants, EventChannels& events,
                                                     const Vif& vif, const Agreement& agreement,
                                                     bool resume) {
  std::unique_ptr<Connection> connection(new Connection);
  connection->settings_ = agreed_settings(vif.settings, agreement);
  if (Status status = connection->map(grants, vif, agreement); !status) return status.error();
  if (Status status = connection->bind(events, vif, agreement); !status) return status.error();

  auto from_guest = FromGuestRing::attach(connection->from_guest_page_.data());
  if (!from_guest)
    return Error{fmt::format("{}: {}", netif::keys::tx_ring_ref, from_guest.error().message)};
  auto to_guest = ToGuestRing::attach(connection->to_guest_page_.data());
  if (!to_guest)
    return Error{fmt::format("{}: {}", netif::keys::rx_ring_ref, to_guest.error().message)};
  const evtchn_port_t from_port = connection->from_guest_port_.port();
  const bool split = agreement.to_guest_channel != agreement.from_guest_channel;
  connection->queue_.reset(new GuestQueue{
      .vif = vif.index,
      .domain = vif.domain,
      .from_guest_port = from_port,
      .to_guest_port = split ? connection->to_guest_port_.port() : from_port,
      .from_guest = std::move(from_guest).value(),
      .to_guest = std::move(to_guest).value(),
      .settings = &connection->settings_,
  });
  if (resume) connection->answer_left_over(events);
  return connection;
}

Status Connection::map(Grants& grants, const Vif& vif, const Agreement& agreement) {
  auto from_guest = grants.map(vif.domain, agreement.from_guest_reference);
  if (!from_guest) return from_guest.error();
  from_guest_page_ = std::move(from_guest).value();
  auto to_guest = grants.map(vif.domain, agreement.to_guest_reference);
  if (!to_guest) return to_guest.error();
  to_guest_page_ = std::move(to_guest).value();
  return Done{};
}

Status Connection::bind(EventChannels& events, const Vif& vif, const Agreement& agreement) {
  const auto from_guest = events.bind(vif.domain, agreement.from_guest_channel);
  if (!from_guest) return from_guest.error();
  from_guest_port_ = BoundPort(&events, Result(from_guest).value());
  if (agreement.to_guest_channel == agreement.from_guest_channel) return Done{};
  const auto to_guest = events.bind(vif.domain, agreement.to_guest_channel);
  if (!to_guest) return to_guest.error();
  to_guest_port_ = BoundPort(&events, Result(to_guest).value());
  return Done{};
}

// Outline: what lies between rsp_prod and req_prod was perhaps sent already, and its references may
// be spoilt by answers that were written and not published (protocol 4.2), so no grant is touched.
// To_guest requests stay: they are buffers.
void Connection::answer_left_over(EventChannels& events) {
  FromGuestRing& ring = queue_->from_guest;
  const uint32_t count = ring.available().value_or(0);
  std::vector<netif::FromGuestRequest> requests(count);
  ring.copy_out(0, std::span(requests));
  ring.take(count);
  for (const auto& answer : recovery_answers(requests)) ring.answer(answer);
  ring.publish();
  // Kicks of the time between were lost, in both directions.
  events.notify(queue_->from_guest_port);
  if (queue_->to_guest_port != queue_->from_guest_port) events.notify(queue_->to_guest_port);
}

std::optional<FromGuestRing::Indices> Connection::from_guest_indices() const {
  // A second view: the queue's own indices are the worker's.
  auto ring = FromGuestRing::attach(from_guest_page_.data());
  if (!ring) return std::nullopt;
  return ring.value().indices();
}

std::optional<ToGuestRing::Indices> Connection::to_guest_indices() const {
  auto ring = ToGuestRing::attach(to_guest_page_.data());
  if (!ring) return std::nullopt;
  return ring.value().indices();
}

}  // namespace netback
