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
  const size_t count = agreement.queues.size();
  NETBACK_CHECK(count >= 1 && count <= limits::vif_queues_max);
  for (const QueueRings& rings : agreement.queues) {
    const size_t number = connection->lent_.size();
    if (Status status = connection->open_queue(grants, events, vif, rings); !status) {
      Error error = status.error();
      if (count > 1) error.message = fmt::format("queue-{}: {}", number, error.message);
      return error;
    }
  }
  for (const Lent& lent : connection->lent_) connection->queues_.push_back(lent.queue.get());
  for (GuestQueue* queue : connection->queues_) {
    queue->siblings = connection->queues_;
    if (resume) answer_left_over(*queue, events);
  }
  return connection;
}

Status Connection::open_queue(Grants& grants, EventChannels& events, const Vif& vif,
                              const QueueRings& rings) {
  const auto number = static_cast<uint16_t>(lent_.size());
  Lent& lent = lent_.emplace_back();
  if (Status status = map(grants, vif, rings, lent); !status) return status;
  if (Status status = bind(events, vif, rings, lent); !status) return status;

  auto from_guest = FromGuestRing::attach(lent.from_guest_page.data());
  if (!from_guest)
    return Error{fmt::format("{}: {}", netif::keys::tx_ring_ref, from_guest.error().message)};
  auto to_guest = ToGuestRing::attach(lent.to_guest_page.data());
  if (!to_guest)
    return Error{fmt::format("{}: {}", netif::keys::rx_ring_ref, to_guest.error().message)};
  const evtchn_port_t from_port = lent.from_guest_port.port();
  const bool split = rings.to_guest_channel != rings.from_guest_channel;
  lent.queue.reset(new GuestQueue{
      .vif = vif.index,
      .domain = vif.domain,
      .number = number,
      .worker = vif.worker,
      .from_guest_port = from_port,
      .to_guest_port = split ? lent.to_guest_port.port() : from_port,
      .multicast = &multicast_,
      .from_guest = std::move(from_guest).value(),
      .to_guest = std::move(to_guest).value(),
      .settings = &settings_,
  });
  return Done{};
}

Status Connection::map(Grants& grants, const Vif& vif, const QueueRings& rings, Lent& lent) {
  auto from_guest = grants.map(vif.domain, rings.from_guest_reference);
  if (!from_guest) return from_guest.error();
  lent.from_guest_page = std::move(from_guest).value();
  auto to_guest = grants.map(vif.domain, rings.to_guest_reference);
  if (!to_guest) return to_guest.error();
  lent.to_guest_page = std::move(to_guest).value();
  return Done{};
}

Status Connection::bind(EventChannels& events, const Vif& vif, const QueueRings& rings,
                        Lent& lent) {
  const auto from_guest = events.bind(vif.domain, rings.from_guest_channel);
  if (!from_guest) return from_guest.error();
  lent.from_guest_port = BoundPort(&events, Result(from_guest).value());
  if (rings.to_guest_channel == rings.from_guest_channel) return Done{};
  const auto to_guest = events.bind(vif.domain, rings.to_guest_channel);
  if (!to_guest) return to_guest.error();
  lent.to_guest_port = BoundPort(&events, Result(to_guest).value());
  return Done{};
}

// Outline: what lies between rsp_prod and req_prod was perhaps sent already, and its references may
// be spoilt by answers that were written and not published (protocol 4.2), so no grant is touched.
// To_guest requests stay: they are buffers.
void Connection::answer_left_over(GuestQueue& queue, EventChannels& events) {
  FromGuestRing& ring = queue.from_guest;
  const uint32_t count = ring.available().value_or(0);
  std::vector<netif::FromGuestRequest> requests(count);
  ring.copy_out(0, std::span(requests));
  ring.take(count);
  for (const auto& answer : recovery_answers(requests)) ring.answer(answer);
  ring.publish();
  // Kicks of the time between were lost, in both directions.
  events.notify(queue.from_guest_port);
  if (queue.to_guest_port != queue.from_guest_port) events.notify(queue.to_guest_port);
}

std::optional<FromGuestRing::Indices> Connection::from_guest_indices(uint32_t queue) const {
  // A second view: the queue's own indices are the worker's.
  auto ring = FromGuestRing::attach(lent_[queue].from_guest_page.data());
  if (!ring) return std::nullopt;
  return ring.value().indices();
}

std::optional<ToGuestRing::Indices> Connection::to_guest_indices(uint32_t queue) const {
  auto ring = ToGuestRing::attach(lent_[queue].to_guest_page.data());
  if (!ring) return std::nullopt;
  return ring.value().indices();
}

}  // namespace netback
