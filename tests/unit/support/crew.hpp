// Several workers with the guests and ports of one host, driven turn by turn. At the end everything
// is detached and the pool is whole.
#pragma once

#include "dataplane/worker.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_port.hpp"

namespace netback::test {

struct CrewGuest {
  uint16_t worker = 0;
  bool filtered = true;
  uint16_t vlan = 0;
  bool isolated = false;
};

class Crew : public Bench {
 public:
  using Frames = std::vector<Bytes>;
  static constexpr rte_ether_addr elsewhere{{2, 0, 0, 9, 9, 9}};
  static constexpr rte_ether_addr broadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

  // The port is the first worker's, or has a pair for each. `port_takes`: frames before they are
  // read.
  explicit Crew(const std::vector<CrewGuest>& wanted, uint16_t worker_count = 2,
                uint32_t port_takes = 1023, uint16_t port_pairs = 1)
      : port(*pool, port_takes, port_pairs) {
    std::vector<Mailbox*> ends;
    for (uint16_t i = 0; i < worker_count; ++i)
      ends.push_back(mailboxes.emplace_back(std::make_unique<Mailbox>()).get());
    crossings = std::move(Crossings::make(ends)).value();
    for (uint16_t i = 0; i < worker_count; ++i)
      workers.push_back(std::make_unique<Worker>(WorkerOptions{.spin_us = Idle::spin_always},
                                                 *mailboxes[i], *grants, *events, *pool,
                                                 &crossings->end(i)));
    post(0, AttachPort{&port.queue});
    for (auto& pair : port.others) post(pair->worker, AttachPort{pair.get()});
    for (const CrewGuest& guest : wanted) {
      const auto vif = static_cast<uint16_t>(guests.size());
      guests.push_back(std::make_unique<TestGuest>(vif, static_cast<uint16_t>(7 + vif)));
      guests.back()->queue->worker = guest.worker;
      guests.back()->settings.vlan = guest.vlan;
      guests.back()->post_buffers(60);
      vifs.push_back({.queue = guests.back()->queue.get(),
                      .port = port.queue.port,
                      .mac = guests.back()->settings.mac,
                      .filtered = guest.filtered,
                      .vlan = guest.vlan,
                      .isolated = guest.isolated});
      post(guest.worker, AttachQueue{guests.back()->queue.get()});
    }
    use_table();
  }
  ~Crew() {
    vifs.clear();
    use_table();
    for (auto& guest : guests) post(guest->queue->worker, DetachQueue{guest->queue.get(), false});
    turn();
    // What the guests' leaving left on its way.
    for (size_t i = 0; i < workers.size() * limits::crossing_ring_frames; ++i) turn();
  }

  // Makes a table of `vifs` and has these workers use it; all of them if none is named.
  void use_table(const std::vector<uint16_t>& of = {}) {
    tables.push_back(std::move(ForwardTable::make({&port.queue}, vifs, ++serial)).value());
    for (uint16_t i = 0; i < workers.size(); ++i)
      if (of.empty() || std::find(of.begin(), of.end(), i) != of.end())
        post(i, UseTable{tables.back().get()});
    turn();
  }
  template <class What>
  void post(uint16_t worker, const What& what) {
    REQUIRE(mailboxes[worker]->post({.sequence = 0, .what = what}));
  }
  void turn(uint16_t worker) { workers[worker]->turn(); }
  // Each has had a turn after each other's.
  void turn() {
    for (int round = 0; round < 2; ++round)
      for (auto& worker : workers) worker->turn();
  }

  void put(TestGuest& from, const Bytes& bytes, uint16_t flags = 0) {
    from.put_frame(bytes, 1, flags);
    from.from_guest.push();
  }
  void send(TestGuest& from, const Bytes& bytes, uint16_t flags = 0) {
    put(from, bytes, flags);
    turn();
  }
  void arrive(const Bytes& bytes, uint16_t pair = 0) {
    port.feed(make_mbuf(*pool, bytes), pair);
    turn();
  }
  static Bytes frame(const rte_ether_addr& to, const TestGuest& from, size_t bytes = 100) {
    return make_frame(to, from.settings.mac, bytes);
  }
  // What each guest has got since the last call, and each pair of the port.
  std::vector<Frames> got() {
    std::vector<Frames> all;
    for (auto& guest : guests) all.push_back(delivered(*guest));
    for (uint16_t pair = 0; pair <= port.others.size(); ++pair)
      all.push_back(port.sent_bytes(pair));
    return all;
  }
  static Frames delivered(TestGuest& guest) {
    Frames all;
    uint32_t slot = guest.to_guest.consumed();
    for (const auto& response : guest.deliveries()) {
      const uint32_t buffer = guest.posted_buffer(slot++);
      if (response.status < 0) continue;
      const uint8_t* bytes = guest.buffer(buffer) + response.offset;
      all.emplace_back(bytes, bytes + response.status);
    }
    return all;
  }
  uint64_t count(uint16_t worker, WorkerCounter counter) const {
    return workers[worker]->counters().read(counter);
  }

  TestPort port;
  std::vector<std::unique_ptr<Mailbox>> mailboxes;
  std::unique_ptr<Crossings> crossings;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::unique_ptr<TestGuest>> guests;
  std::vector<ForwardTable::Vif> vifs;
  std::vector<std::unique_ptr<ForwardTable>> tables;
  uint32_t serial = 0;
};

}  // namespace netback::test
