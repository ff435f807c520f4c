// Vifs that are isolated: the port reaches them, and they it; no other vif of the port does.
#include "dataplane/forward.hpp"
#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/forwarding_host.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Frames = std::vector<Bytes>;

// Two guests that are isolated, two that are not.
struct IsolatedHost : ForwardingHost {
  TestGuest &alone, &alone_too, &one, &two;

  IsolatedHost()
      : alone(add_isolated()), alone_too(add_isolated()), one(add_guest()), two(add_guest()) {
    for (auto& guest : guests) guest->post_buffers(40);
  }
};

}  // namespace

TEST_CASE(
    "isolated: a frame for another vif's address leaves by the port, from and to such a vif") {
  IsolatedHost f;
  for (auto [from, to] :
       {std::pair{&f.alone, &f.one}, {&f.one, &f.alone}, {&f.alone, &f.alone_too}}) {
    const Bytes frame = f.frame(to->settings.mac, *from);
    f.send(*from, frame);
    CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
  }
  const Bytes frame = f.frame(f.two.settings.mac, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {frame}, {}});
}

TEST_CASE(
    "isolated: a broadcast of such a vif reaches the port alone, and it gets no other vif's") {
  IsolatedHost f;
  for (const auto& to : {broadcast, multicast}) {
    Bytes frame = f.frame(to, f.alone);
    f.send(f.alone, frame);
    CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
    frame = f.frame(to, f.one);
    f.send(f.one, frame);
    CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {frame}, {frame}});
  }
}

TEST_CASE("isolated: what comes from the port reaches it, also another vif's frame that returns") {
  IsolatedHost f;
  const Bytes all = make_frame(broadcast, elsewhere, 80);
  f.arrive(all);
  CHECK(f.got() == std::vector<Frames>{{all}, {all}, {all}, {all}, {}});
  const Bytes returned = f.frame(f.alone.settings.mac, f.one);
  f.arrive(returned);
  CHECK(f.got() == std::vector<Frames>{{returned}, {}, {}, {}, {}});
}

TEST_CASE("isolated: a frame to its own address is dropped by name") {
  IsolatedHost f;
  f.send(f.alone, f.frame(f.alone.settings.mac, f.alone));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {}});
  CHECK(f.alone.count(Q::from_guest_drop_to_sender_frames) == 1);
}

TEST_CASE("isolated: who sees everything sees what the port brings, and no isolated vif's frames") {
  IsolatedHost f;
  TestGuest& seer = f.add_guest(0, false);
  TestGuest& alone_seer = f.add_isolated(0, false);
  seer.post_buffers(20);
  alone_seer.post_buffers(20);
  Bytes frame = f.frame(elsewhere, f.alone);
  f.send(f.alone, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {}, {}, {frame}});
  frame = f.frame(elsewhere, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}, {}, {frame}});
  frame = f.frame(f.alone.settings.mac, f.one);
  f.arrive(frame);
  CHECK(f.got() == std::vector<Frames>{{frame}, {}, {}, {}, {frame}, {frame}, {}});
}

TEST_CASE("isolated: of two with one address the newest that is reached gets the frames") {
  IsolatedHost f;
  const rte_ether_addr mac = f.two.settings.mac;
  TestGuest& twin = f.add_isolated_with_mac(mac);
  twin.post_buffers(20);
  const Bytes frame = f.frame(mac, f.one);
  f.send(f.one, frame);  // guests reach the one that is not isolated
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {frame}, {}, {}});
  f.arrive(frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}, {}});
  f.send(twin, f.frame(mac, twin));
  CHECK(twin.count(Q::from_guest_drop_to_sender_frames) == 1);
}

TEST_CASE(
    "isolated: on a VLAN its frames leave with the tag, and what has it comes from the port") {
  IsolatedHost f;
  TestGuest& inside = f.add_isolated(7);
  TestGuest& beside = f.add_guest_on_vlan(7);
  inside.post_buffers(20);
  beside.post_buffers(20);
  const auto nobody_but_port = [](const Bytes& frame) {
    return std::vector<Frames>{{}, {}, {}, {}, {}, {}, {frame}};
  };
  for (const auto& to : {beside.settings.mac, broadcast, f.one.settings.mac}) {
    const Bytes frame = f.frame(to, inside);
    f.send(inside, frame);
    CHECK(f.got() == nobody_but_port(tagged(frame, 7)));
  }
  const Bytes back = f.frame(inside.settings.mac, beside);
  f.send(beside, back);
  CHECK(f.got() == nobody_but_port(tagged(back, 7)));
  f.send(f.one, tagged(back, 7));
  CHECK(f.got() == nobody_but_port(tagged(back, 7)));
  f.arrive(tagged(back, 7));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {back}, {}, {}});
  const Bytes all = make_frame(broadcast, elsewhere, 80);
  f.arrive(tagged(all, 7));
  const Bytes with_tag = tagged(all, 7);
  CHECK(f.got() ==
        std::vector<Frames>{{with_tag}, {with_tag}, {with_tag}, {with_tag}, {all}, {all}, {}});
  const Bytes out = f.frame(broadcast, beside);  // switched ones of the port see it as ever
  f.send(beside, out);
  CHECK(f.got() ==
        std::vector<Frames>{{}, {}, {tagged(out, 7)}, {tagged(out, 7)}, {}, {}, {tagged(out, 7)}});
}

TEST_CASE("isolated: on one port; those of another are as they were") {
  TestHost host({.ports = 2});
  host.add_isolated();
  TestGuest& one = host.add_guest(1);
  TestGuest& two = host.add_guest(1);
  two.post_buffers(4);
  const Bytes frame = host.frame(two.settings.mac, one);
  one.put_frame(frame, 1);
  one.from_guest.push();
  host.turn();
  CHECK(host.delivered(two) == Frames{frame});
}

TEST_CASE("isolated: across workers as on one") {
  Crew c({{.worker = 0, .isolated = true},
          {.worker = 1},
          {.worker = 1, .isolated = true},
          {.worker = 0}});
  for (const auto& to : {c.guests[1]->settings.mac, c.broadcast}) {
    const Bytes frame = c.frame(to, *c.guests[0]);
    c.send(*c.guests[0], frame);
    CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
  }
  Bytes frame = c.frame(c.broadcast, *c.guests[2]);
  c.send(*c.guests[2], frame);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
  frame = c.frame(c.broadcast, *c.guests[1]);
  c.send(*c.guests[1], frame);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {frame}, {frame}});
  c.arrive(frame);
  CHECK(c.got() == std::vector<Frames>{{frame}, {frame}, {frame}, {frame}, {}});
}

// Each has its address twice in the table: for the port, and for the other vifs.
TEST_CASE("isolated: the table has room for any number of such vifs") {
  const Bench bench;
  TestPort port(*bench.pool);
  std::vector<std::unique_ptr<TestGuest>> guests;
  std::vector<ForwardTable::Vif> vifs;
  for (uint16_t i = 0; i < 512; ++i) {
    guests.push_back(std::make_unique<TestGuest>(i));
    const rte_ether_addr mac{{2, 0, 0, 7, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
    vifs.push_back({guests.back()->queue.get(), port.queue.port, mac, true, 0, true});
  }
  CHECK(ForwardTable::make({&port.queue}, vifs));
}
