// Every drop has a counter, and a test that reaches it: a new one fails here until it has a case.
#include "dataplane/counters.hpp"

#include <chrono>
#include <set>
#include <string>
#include <thread>

#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;

void send(TestHost& host) {
  host.guests[0]->from_guest.push();
  host.turn(2);
}
void send_frame(TestHost& host, size_t bytes = 60, uint16_t flags = 0) {
  host.guests[0]->put_frame(host.frame(elsewhere, *host.guests[0], bytes), 1, flags);
  send(host);
}
void arrive(TestHost& host, size_t bytes = 60) {
  host.ports[0]->feed(make_frame(host.guests[0]->settings.mac, elsewhere, bytes));
  host.turn();
}

void send_gso(TestHost& host, const rte_ether_addr& to, size_t payload, uint16_t segment_bytes) {
  host.guests[0]->settings.gso_tcpv4_offered = true;
  Packet packet = make_packet({.payload = payload});
  std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
  put_gso_packet(*host.guests[0], packet, segment_bytes);
  send(host);
}

struct DropCase {
  QueueCounter counter;
  void (*cause)(TestHost&);
};

const DropCase drop_cases[] = {
    {Q::from_guest_drop_bad_size_frames, [](TestHost& h) { send_frame(h, 13); }},
    {Q::from_guest_drop_too_many_slots_frames,
     [](TestHost& h) {
       h.guests[0]->put_slot(1, 100, NETTXF_more_data);
       for (int i = 0; i < 19; ++i) h.guests[0]->put_slot(1, 1, i < 18 ? NETTXF_more_data : 0);
       send(h);
     }},
    {Q::from_guest_drop_size_mismatch_frames,
     [](TestHost& h) {
       h.guests[0]->put_slot(1, 60, NETTXF_more_data);
       h.guests[0]->put_slot(1, 61);
       send(h);
     }},
    {Q::from_guest_drop_bad_reference_frames,
     [](TestHost& h) {
       h.guests[0]->put_slot(1, 60, 0, 0, 7);
       send(h);
     }},
    {Q::from_guest_drop_copy_failed_frames,
     [](TestHost& h) {
       h.guests[0]->put_slot(1, 60, 0, 0, 4'000'000);
       send(h);
     }},
    {Q::from_guest_drop_gso_not_offered_frames,
     [](TestHost& h) {
       h.guests[0]->put_slot(1, 60, NETTXF_extra_info);
       h.guests[0]->put_gso(100);
       send(h);
     }},
    {Q::from_guest_drop_too_long_frames, [](TestHost& h) { send_frame(h, 1515); }},
    {Q::from_guest_drop_bad_headers_frames,
     [](TestHost& h) { send_frame(h, 60, NETTXF_csum_blank); }},
    {Q::from_guest_drop_too_many_segments_frames,
     [](TestHost& h) { send_gso(h, elsewhere, 257, 1); }},
    {Q::from_guest_drop_source_address_frames,
     [](TestHost& h) {
       h.guests[0]->settings.lock_mac = true;
       h.guests[0]->put_frame(plain_frame(60), 1);
       send(h);
     }},
    {Q::from_guest_drop_source_ip_frames,
     [](TestHost& h) {
       VifSettings& settings = h.guests[0]->settings;
       settings.addresses =
           std::make_shared<SourceAddresses>(std::span<AddressPrefix>(), settings.mac);
       send_frame(h);
     }},
    {Q::from_guest_drop_tagged_frames,
     [](TestHost& h) {
       h.guests[0]->settings.vlan = 7;
       Bytes frame = h.frame(elsewhere, *h.guests[0]);
       frame[12] = 0x81, frame[13] = 0;
       h.guests[0]->put_frame(frame, 1);
       send(h);
     }},
    {Q::from_guest_drop_too_early_frames,
     [](TestHost& h) {
       h.ports[0]->queue.running = false;
       send_frame(h);
     }},
    {Q::from_guest_drop_port_full_frames,
     [](TestHost& h) {
       for (int i = 0; i < 4; ++i) send_frame(h);
     }},
    {Q::from_guest_drop_port_too_long_frames,
     [](TestHost& h) {
       h.ports[0]->queue.can.frame_bytes_max = 59;
       send_frame(h);
     }},
    {Q::from_guest_drop_no_buffer_frames,
     [](TestHost& h) {
       h.ports[0]->queue.can = {.checksum = false, .chains = false, .frame_bytes_max = 4000};
       h.guests[0]->settings.frame_bytes_max = 4000;
       send_frame(h, 3000);
     }},
    {Q::from_guest_drop_port_refused_frames,
     [](TestHost& h) {
       PortQueue& port = h.ports[0]->queue;
       port.can.segments = true;
       rte_eth_fp_ops[port.port].tx_pkt_prepare = [](void*, rte_mbuf**, uint16_t) {
         return uint16_t{0};
       };
       send_gso(h, elsewhere, 3000, 1400);
     }},
    {Q::from_guest_drop_to_sender_frames,
     [](TestHost& h) {
       h.guests[0]->put_frame(h.frame(h.guests[0]->settings.mac, *h.guests[0]), 1);
       send(h);
     }},
    {Q::to_guest_drop_backlog_full_frames,
     [](TestHost& h) {
       h.guests[0]->settings.backlog_frames_max = 0;
       arrive(h);
     }},
    {Q::to_guest_drop_rate_frames,
     [](TestHost& h) {
       static RateBudget used_up;
       used_up.set({.bytes = 10, .interval_us = 10'000'000}, rte_get_tsc_hz());
       used_up.spend(1000, static_cast<int64_t>(rte_rdtsc()));
       h.guests[0]->queue->to_guest_rate = &used_up;
       arrive(h);
     }},
    {Q::to_guest_drop_stalled_frames,
     [](TestHost& h) {
       h.guests[0]->settings.stall_ms = 1;
       arrive(h);
       std::this_thread::sleep_for(std::chrono::milliseconds(2));
       h.turn();
     }},
    {Q::to_guest_drop_copy_failed_frames,
     [](TestHost& h) {
       h.guests[0]->post_buffers(1, 0, true);
       arrive(h);
     }},
    {Q::to_guest_drop_too_long_frames, [](TestHost& h) { arrive(h, 1515); }},
    {Q::to_guest_drop_no_buffer_frames,
     [](TestHost& h) {
       // A guest that no frame is for sees all the same; the port cuts by itself.
       h.add_guest(0, false);
       h.ports[0]->queue.can.segments = true;
       h.leave_buffers(3);
       send_gso(h, elsewhere, 3000, 1400);
       h.guests[0]->queue->counters.add(Q::to_guest_drop_no_buffer_frames,
                                        h.guests[1]->count(Q::to_guest_drop_no_buffer_frames));
     }},
    {Q::to_guest_drop_detached_frames,
     [](TestHost& h) {
       arrive(h);
       h.detach(*h.guests[0]);
     }},
};

bool is_drop(std::string_view name) {
  return name.find("_drop_") != std::string_view::npos;
}

}  // namespace

TEST_CASE("counters: each cause of a drop counts one frame at its own counter alone") {
  for (const DropCase& drop : drop_cases) {
    TestHost host({.port_takes = 3});
    TestGuest& guest = host.add_guest();
    drop.cause(host);
    for (size_t i = 0; i < queue_counter_info.size(); ++i) {
      if (!is_drop(queue_counter_info[i].name)) continue;
      INFO(queue_counter_info[size_t(drop.counter)].name << " / " << queue_counter_info[i].name);
      CHECK(guest.count(static_cast<QueueCounter>(i)) == (i == size_t(drop.counter) ? 1 : 0));
    }
  }
}

TEST_CASE("counters: every drop of a queue has its case here") {
  std::set<size_t> covered;
  for (const DropCase& drop : drop_cases) covered.insert(size_t(drop.counter));
  for (size_t i = 0; i < queue_counter_info.size(); ++i) {
    INFO(queue_counter_info[i].name);
    if (QueueCounter(i) == Q::from_guest_drop_crossing_frames) continue;  // crossing_test
    CHECK(covered.contains(i) == is_drop(queue_counter_info[i].name));
  }
}

TEST_CASE("counters: names are unique and every one has a help text") {
  std::set<std::string_view> names;
  size_t count = 0;
  const auto look = [&](const auto& list) {
    for (const CounterInfo& info : list) {
      names.insert(info.name);
      CHECK_FALSE(info.help.empty());
      ++count;
    }
  };
  look(queue_counter_info);
  look(port_counter_info);
  look(worker_counter_info);
  CHECK(names.size() == count);
}
