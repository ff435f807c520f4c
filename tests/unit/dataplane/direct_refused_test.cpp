// Large frames that may not, or cannot, go straight from one guest to another go as all do.
#include "dataplane/direct.hpp"

#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/direct.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Frames = std::vector<Bytes>;

// What keeps a stream's frame from going directly.
struct Hindrance {
  const char* what;
  void (*make)(DirectHost&, Packet&, Layout&);
};

const Hindrance hindrances[] = {
    {"headers beyond the first slot",
     [](DirectHost&, Packet&, Layout& layout) { layout.first = 53; }},
    {"TCP options beyond the first slot",
     [](DirectHost& f, Packet& packet, Layout& layout) {
       packet = f.packet({.payload = 30'000, .tcp_options = 12});
       layout.first = 65;
     }},
    {"to the port", [](DirectHost&, Packet& packet,
                       Layout&) { std::copy_n(elsewhere.addr_bytes, 6, packet.bytes.begin()); }},
    {"to a group", [](DirectHost&, Packet& packet,
                      Layout&) { std::copy_n(multicast.addr_bytes, 6, packet.bytes.begin()); }},
    {"to the sender itself",
     [](DirectHost& f, Packet& packet, Layout&) {
       std::copy_n(f.sender.settings.mac.addr_bytes, 6, packet.bytes.begin());
     }},
    {"seen by a guest that sees everything",
     [](DirectHost& f, Packet&, Layout&) {
       f.add_guest(0, false).post_buffers(60);
       f.turn();
     }},
    {"on a port with VLANs",
     [](DirectHost& f, Packet&, Layout&) {
       f.add_guest_on_vlan(7);
       f.turn();
     }},
    {"from a vif with a VLAN", [](DirectHost& f, Packet&, Layout&) { f.sender.settings.vlan = 7; }},
    {"to a guest that takes no blank checksum",
     [](DirectHost& f, Packet&, Layout&) { f.receiver.settings.takes_blank_ipv4 = false; }},
    {"to a guest that does not segment",
     [](DirectHost& f, Packet&, Layout&) { f.receiver.settings.takes_gso_tcpv4 = false; }},
    {"longer than the guest takes",
     [](DirectHost& f, Packet&, Layout&) { f.receiver.settings.frame_bytes_max = 1000; }},
    {"to a guest whose pages stay mapped",
     [](DirectHost& f, Packet&, Layout&) { f.receiver.stage(TestGuest::first_buffer_reference); }},
    {"from a guest whose pages stay mapped",
     [](DirectHost& f, Packet&, Layout&) { f.sender.stage(TestGuest::first_data_reference); }},
    {"to a vif with a rate",
     [](DirectHost& f, Packet&, Layout&) {
       f.rate.set({.bytes = 1'000'000, .interval_us = 1000}, rte_get_tsc_hz());
       f.receiver.queue->to_guest_rate = &f.rate;
     }},
    {"behind a short frame to the same guest",
     [](DirectHost& f, Packet&, Layout&) {
       f.sender.put_frame(f.frame(f.receiver.settings.mac, f.sender), 7);
     }},
    {"behind a frame of two slots",
     [](DirectHost& f, Packet&, Layout&) {
       f.sender.put_chain(f.frame(f.receiver.settings.mac, f.sender, 1500), {1000, 500}, 7);
     }},
    {"with a hash of the sender's",
     [](DirectHost& f, Packet&, Layout& layout) {
       layout.hash = true;
       f.sender.settings.lock_mac = false;
     }},
    {"of few slots",
     [](DirectHost& f, Packet& packet, Layout&) { packet = f.packet({.payload = 7'000}); }},
    {"as short as one segment",
     [](DirectHost& f, Packet&, Layout& layout) {
       f.sender.settings.frame_bytes_max = f.receiver.settings.frame_bytes_max = 65'535;
       layout.segment = 30'000;
     }},
    {"of more segments than any guest's",
     [](DirectHost&, Packet&, Layout& layout) { layout.segment = 50; }},
    {"from an address that the vif may not use",
     [](DirectHost& f, Packet&, Layout&) {
       f.sender.settings.addresses = std::make_shared<SourceAddresses>(
           std::span<const AddressPrefix>{}, f.sender.settings.mac);
     }},
    {"no TCP", [](DirectHost&, Packet& packet, Layout&) { packet.bytes[23] = 17; }},
    {"with another source address than the vif's",
     [](DirectHost& f, Packet& packet, Layout&) {
       f.sender.settings.lock_mac = true;
       packet.bytes[11] = 0x77;
     }},
};

struct Outcome {
  Frames received, sent;
  bool operator==(const Outcome&) const = default;
};

}  // namespace

TEST_CASE("direct: what may not go so goes the way of all frames") {
  for (const auto& [what, make] : hindrances) {
    INFO(what);
    Outcome outcomes[2];
    for (const bool stream : {false, true}) {
      DirectHost f;
      f.start();
      Packet packet = f.packet();
      Layout layout;
      make(f, packet, layout);
      f.sender.queue->streams_to_guest = stream;
      f.put(packet, layout);
      f.turn();
      CHECK(f.direct() == 0);
      CHECK(f.sender.queue->from_guest.unanswered() == 0);
      outcomes[stream] = {f.received(), f.ports[0]->sent_bytes()};
      f.receiver.queue->to_guest_rate = nullptr;
    }
    CHECK((outcomes[0] == outcomes[1]));
  }
}

TEST_CASE("direct: whatever copy fails, each frame arrives whole or is dropped by name, in order") {
  for (uint32_t operation = 0; operation < 40; ++operation) {
    INFO(operation);
    DirectHost f;
    f.start();
    Frames sent = f.put_several(3);
    xen().copy_operations = 0;
    xen().failing_operations = {operation};
    f.turn();
    xen().failing_operations.clear();
    Frames got = f.received();
    if (operation < 3) {  // of the headers of one
      sent.erase(sent.begin() + operation);
      CHECK(f.sender.count(Q::from_guest_drop_copy_failed_frames) == 1);
      CHECK(f.direct() == 2);
    } else {
      CHECK(f.direct() == (operation < 30 ? (operation - 3) / 9 : 3));
    }
    CHECK((got == sent));
    CHECK(f.sender.queue->from_guest.unanswered() == 0);
    CHECK(f.receiver.queue->to_guest.unanswered() == 0);
  }
}

TEST_CASE("direct: a page that the sender did not grant costs it this frame alone") {
  DirectHost f;
  f.start();
  const Packet bad = f.packet(), good = f.packet();
  f.put(bad);
  xen().revoke(f.sender.domain, TestGuest::first_data_reference + 9 + 4);
  f.put(good);
  f.turn();
  CHECK((f.received() == Frames{whole(good)}));
  CHECK(f.sender.count(Q::from_guest_drop_copy_failed_frames) == 1);
  CHECK(f.sender.count(Q::from_guest_frames) == 2);
  CHECK(f.receiver.count(Q::to_guest_drop_copy_failed_frames) == 0);
  CHECK(f.direct() == 0);
}

TEST_CASE("direct: a reference that is none is the sender's fault, a buffer that is none is not") {
  DirectHost f;
  f.start();
  const Packet bad = f.packet();
  f.put(bad);
  xen().grants[{f.receiver.domain, TestGuest::first_buffer_reference + 12}].read_only = true;
  f.turn();
  CHECK(f.sender.count(Q::from_guest_drop_copy_failed_frames) == 0);
  CHECK(f.receiver.count(Q::to_guest_drop_copy_failed_frames) == 1);
  CHECK(f.direct() == 0);
  f.check_answers();
  for (const auto& answer : f.receiver.deliveries()) CHECK(answer.status == NETIF_RSP_ERROR);
}

TEST_CASE("direct: a call that fails for one of the two leaves the frame to the way of all") {
  for (const bool senders : {false, true}) {
    DirectHost f;
    f.start();
    const Packet packet = f.packet();
    f.put(packet);
    xen().during_copy = [&] {
      if (xen().copy_calls == 1)
        xen().failing_domain = senders ? f.sender.domain : f.receiver.domain;
      if (xen().copy_calls >= 3) xen().failing_domain = -1;
    };
    f.turn();
    xen().during_copy = nullptr;
    xen().failing_domain = -1;
    CHECK(f.direct() == 0);
    CHECK((f.received() == Frames{whole(packet)}));
    f.check_answers();
  }
}

TEST_CASE("direct: who receives and claims more buffers than a ring holds is quarantined") {
  DirectHost f;
  f.start();
  f.put(f.packet());
  f.receiver.to_guest.req_prod() += 1000;
  f.turn();
  CHECK(f.direct() == 0);
  f.read_reports();
  REQUIRE(f.quarantines.size() == 1);
  CHECK(f.quarantines[0].queue == f.receiver.queue.get());
}

TEST_CASE("direct: after one that may not, it is tried again once one could have") {
  DirectHost f;
  f.start();
  f.receiver.settings.takes_blank_ipv4 = false;
  for (const uint32_t calls : {3, 5}) {  // headers, the rest, to the guest; then as always
    f.put(f.packet());
    f.turn();
    CHECK(xen().copy_calls == calls);
  }
  // What is here is not fetched again.
  CHECK(xen().operations_per_call[0] == 1);
  CHECK(xen().operations_per_call[1] == 8);
  f.receiver.settings.takes_blank_ipv4 = true;
  f.put(f.packet());
  f.turn();
  CHECK(f.direct() == 0);
  f.put(f.packet());
  f.turn();
  CHECK(f.direct() == 1);
  CHECK(f.received().size() == 4);
  CHECK(f.sender.count(Q::from_guest_copy_slots) == 4 * 9 + 1);
  CHECK(f.worker.counters().read(WorkerCounter::worker_from_guest_copy_slots) == 4 * 9 + 1);
  CHECK(f.sender.count(Q::from_guest_copy_calls) == 6);
  CHECK(f.worker.counters().read(WorkerCounter::worker_from_guest_copy_calls) == 6);
}

TEST_CASE("direct: what never may is not tried turn after turn") {
  for (const bool seen : {false, true}) {
    DirectHost f(64, 200);
    if (seen) f.add_guest(0, false).post_buffers(200);
    f.turn();
    for (int i = 0; i < 4; ++i) {
      xen().copy_calls = 0;
      if (!seen) f.sender.put_frame(f.frame(f.receiver.settings.mac, f.sender), 7);
      f.put(f.packet());
      f.turn();
      CHECK(xen().copy_calls == 2);
    }
    CHECK(f.direct() == 0);
  }
}

TEST_CASE("direct: after one that could not be copied, for itself, 255 are not tried") {
  DirectHost f(64, 0);
  const auto send = [&] {
    auto& ring = f.receiver.to_guest;
    f.receiver.post_buffers(20 - (ring.produced() - ring.consumed()));
    f.put(f.packet());
    f.turn();
    CHECK(f.received().size() <= 1);
    f.sender.answers();
  };
  SECTION("headers") {
    send();
    f.put(f.packet(), {.first = 53});
  }
  SECTION("a page") {
    send();
    f.put(f.packet());
    xen().revoke(f.sender.domain, TestGuest::first_data_reference + 9 + 4);
  }
  f.turn();
  CHECK(f.received().size() <= 1);
  CHECK(f.direct() == 0);
  for (int i = 0; i < 255; ++i) send();
  CHECK(f.direct() == 0);
  send();
  send();
  CHECK(f.direct() >= 1);
}

TEST_CASE("direct: nothing of what a buffer held before is looked at or goes anywhere") {
  // Headers of 134 bytes behind a first slot of 14; where a frame with headers of 54 was before.
  // By those it would stand for two, by its own it is as long as one.
  for (const size_t first : {14u, 18u, 26u, 33u, 54u, 133u}) {
    Frames got[2];
    for (const bool stream : {false, true}) {
      DirectHost f(0);
      f.sender.settings.frame_bytes_max = f.receiver.settings.frame_bytes_max = 65'535;
      f.start();
      f.sender.queue->streams_to_guest = stream;
      Packet packet = f.packet({.payload = 12'000, .options = 40, .tcp_options = 40});
      packet.bytes[16] = packet.bytes[17] = 0;  // the length, which need not be filled in
      f.put(packet, {.first = first, .segment = static_cast<uint16_t>(packet.bytes.size() - 134)});
      f.turn();
      CHECK(f.direct() == 0);
      got[stream] = f.received();
    }
    CHECK(got[0].size() == 1);
    CHECK((got[0] == got[1]));
  }
}

TEST_CASE("direct: a buffer of a reserved reference takes no frame") {
  DirectHost f(64, 9 + 3);
  f.start();
  f.receiver.to_guest.put({.id = 50, .pad = 0, .gref = 7});
  f.receiver.to_guest.push();
  f.receiver.post_buffers(40, 60);
  f.put(f.packet());
  f.turn();
  CHECK(f.direct() == 0);
  CHECK(f.receiver.count(Q::to_guest_drop_copy_failed_frames) == 1);
  f.check_answers();
}

TEST_CASE("direct: what an isolated vif sends to another leaves by the port") {
  DirectHost f;
  TestGuest& isolated = f.add_isolated();
  isolated.settings.gso_tcpv4_offered = true;
  isolated.queue->streams_to_guest = true;
  const Packet packet = f.packet();
  put_gso_packet(isolated, packet, segment_bytes);
  isolated.from_guest.push();
  f.turn();
  CHECK(f.received().empty());
  CHECK((f.ports[0]->sent_bytes() == segments_of(packet, segment_bytes)));
}

TEST_CASE("direct: who is quarantined gets nothing more") {
  DirectHost f;
  f.start();
  f.receiver.queue->quarantined = true;
  f.put(f.packet());
  f.turn();
  f.receiver.queue->quarantined = false;
  CHECK(f.direct() == 0);
  CHECK(f.received().empty());
}

TEST_CASE("direct: not to a guest of another worker's") {
  Crew crew({{.worker = 0}, {.worker = 1}});
  TestGuest &sender = *crew.guests[0], &receiver = *crew.guests[1];
  sender.settings.gso_tcpv4_offered = receiver.settings.takes_gso_tcpv4 = true;
  Packet packet = make_packet({.payload = 30'000, .tcp_flags = all_tcp_flags});
  std::copy_n(receiver.settings.mac.addr_bytes, 6, packet.bytes.begin());
  sender.queue->streams_to_guest = true;
  put_in_pages(sender, packet);
  crew.turn();
  CHECK(sender.count(Q::from_guest_direct_frames) == 0);
  CHECK_FALSE(sender.queue->streams_to_guest);
  CHECK(receiver.count(Q::to_guest_gso_frames) == 1);
}
