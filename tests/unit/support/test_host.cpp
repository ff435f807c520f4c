#include "tests/unit/support/test_host.hpp"

#include <algorithm>

namespace netback::test {

TestHost::TestHost(HostOptions options)
    : Bench(options.large_buffers),
      worker({.spin_us = options.spin_us, .gather_us = options.gather_us}, mailbox, *grants,
             *events, *pool) {
  for (uint32_t i = 0; i < options.ports; ++i) {
    ports.push_back(std::make_unique<TestPort>(*pool, options.port_takes));
    post(AttachPort{&ports.back()->queue});
  }
}

TestHost::~TestHost() {
  FakeXen::instance().failing_domain = -1;
  use_table();
  for (auto& guest : guests) {
    mailbox.post({.sequence = 0, .what = DetachQueue{guest->queue.get(), false}});
    worker.turn();
    CHECK(guest->queue->backlog.count() == 0);
  }
  ports.clear();
}

TestGuest& TestHost::attach(const Placement& placement, uint32_t ring_start) {
  const auto vif = static_cast<uint16_t>(guests.size());
  guests.push_back(std::make_unique<TestGuest>(vif, static_cast<uint16_t>(7 + vif), ring_start));
  placements_.push_back(placement);
  guests.back()->settings.mac = placement.mac;
  guests.back()->settings.vlan = placement.vlan;
  post(AttachQueue{guests.back()->queue.get()});
  use_table();
  return *guests.back();
}

TestGuest& TestHost::add_guest(uint32_t port, bool filtered, uint32_t ring_start) {
  const auto number = static_cast<uint8_t>(guests.size());
  return attach({ports.at(port)->queue.port, filtered, {{2, 0, 0, 0, 0, number}}}, ring_start);
}

TestGuest& TestHost::add_guest_on_vlan(uint16_t vlan, bool filtered) {
  const auto number = static_cast<uint8_t>(guests.size());
  return attach({ports.at(0)->queue.port, filtered, {{2, 0, 0, 0, 0, number}}, vlan}, 0);
}

TestGuest& TestHost::add_guest_with_mac(const rte_ether_addr& mac, uint32_t port, uint16_t vlan) {
  return attach({ports.at(port)->queue.port, true, mac, vlan}, 0);
}

TestGuest& TestHost::add_isolated(uint16_t vlan, bool filtered) {
  const auto number = static_cast<uint8_t>(guests.size());
  return attach({ports.at(0)->queue.port, filtered, {{2, 0, 0, 0, 0, number}}, vlan, true}, 0);
}

TestGuest& TestHost::add_isolated_with_mac(const rte_ether_addr& mac) {
  return attach({ports.at(0)->queue.port, true, mac, 0, true}, 0);
}

TestGuest& TestHost::add_queue(TestGuest& first) {
  const auto number = static_cast<uint16_t>(guests.size());
  guests.push_back(std::make_unique<TestGuest>(number, static_cast<uint16_t>(7 + number)));
  placements_.emplace_back();  // the first one's is the vif's
  guests.back()->settings = first.settings;
  auto& queues = siblings_[first.queue->vif];
  if (queues.empty()) queues.push_back(first.queue.get());
  queues.push_back(guests.back()->queue.get());
  make_siblings(queues);
  post(AttachQueue{queues.back()});
  turn();
  return *guests.back();
}

void TestHost::use_table(const std::vector<uint16_t>& without) {
  std::vector<PortQueue*> port_queues;
  for (auto& port : ports) port_queues.push_back(&port->queue);
  std::vector<ForwardTable::Vif> vifs;
  for (uint16_t i = 0; i < guests.size(); ++i) {
    const GuestQueue& queue = *guests[i]->queue;
    if (std::find(without.begin(), without.end(), queue.vif) != without.end()) continue;
    if (&queue.first_of_vif() != &queue) continue;
    vifs.push_back({.queue = guests[i]->queue.get(),
                    .port = placements_[i].port,
                    .mac = placements_[i].mac,
                    .filtered = placements_[i].filtered,
                    .vlan = placements_[i].vlan,
                    .isolated = placements_[i].isolated});
  }
  auto next = std::move(ForwardTable::make(port_queues, vifs)).value();
  mailbox.post({.sequence = 0, .what = UseTable{next.get()}});
  worker.turn();
  table_ = std::move(next);
}

void TestHost::turn(uint32_t turns) {
  for (uint32_t i = 0; i < turns; ++i) worker.turn();
}

void TestHost::read_reports() {
  Report report;
  while (mailbox.next_report(report)) {
    if (const auto* ack = std::get_if<Acked>(&report)) acks.push_back(ack->sequence);
    if (const auto* quarantine = std::get_if<Quarantined>(&report))
      quarantines.push_back(*quarantine);
  }
}

bool TestHost::acked(uint32_t sequence) {
  read_reports();
  return std::find(acks.begin(), acks.end(), sequence) != acks.end();
}

void TestHost::detach(TestGuest& guest, bool drain) {
  use_table({guest.queue->vif});
  post(DetachQueue{guest.queue.get(), drain});
  turn();
}

std::vector<Bytes> TestHost::delivered(TestGuest& guest) {
  std::vector<Bytes> all;
  bool more = false;
  uint32_t slot = guest.to_guest.consumed();
  for (const auto& response : guest.deliveries()) {
    const uint32_t buffer = guest.posted_buffer(slot++);
    if (response.status < 0) continue;
    const uint8_t* bytes = guest.buffer(buffer) + response.offset;
    if (!more) all.emplace_back();
    all.back().insert(all.back().end(), bytes, bytes + response.status);
    more = response.flags & NETRXF_more_data;
  }
  return all;
}

}  // namespace netback::test
