// Frames from a worker to another: where they go, in which order, how many, and what is dropped.
#include "dataplane/crossing.hpp"

#include <poll.h>

#include <set>

#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/groups.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using P = PortCounter;
using W = WorkerCounter;
using Frames = Crew::Frames;

const std::vector<CrewGuest> one_each = {{.worker = 0}, {.worker = 1}};

bool is_woken(int fd) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE(
    "crossing: from a guest to another worker's guest: that one alone, once it has its turn") {
  Crew c(one_each);
  const Bytes frame = c.frame(c.guests[1]->settings.mac, *c.guests[0]);
  c.put(*c.guests[0], frame);
  c.turn(0);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}});
  c.turn(1);
  CHECK(c.got() == std::vector<Frames>{{}, {frame}, {}});
  CHECK(c.count(1, W::worker_crossed_frames) == 1);
  CHECK(c.count(0, W::worker_crossed_frames) == 0);
  CHECK(c.guests[1]->count(Q::to_guest_frames) == 1);
}

TEST_CASE("crossing: to the port and from it, by the worker that polls it") {
  Crew c(one_each);
  const Bytes out = c.frame(c.elsewhere, *c.guests[1]);
  c.send(*c.guests[1], out);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {out}});
  const Bytes in = make_frame(c.guests[1]->settings.mac, c.elsewhere, 77);
  c.arrive(in);
  CHECK(c.got() == std::vector<Frames>{{}, {in}, {}});
  CHECK(c.count(0, W::worker_crossed_frames) == 1);
  CHECK(c.count(1, W::worker_crossed_frames) == 1);
}

TEST_CASE("crossing: a worker of one guest has nothing cross") {
  Crew c(one_each);
  const Bytes frame = c.frame(c.elsewhere, *c.guests[0]);
  c.send(*c.guests[0], frame);
  c.arrive(make_frame(c.guests[0]->settings.mac, c.elsewhere, 77));
  for (uint16_t worker : {0, 1}) CHECK(c.count(worker, W::worker_crossed_frames) == 0);
}

TEST_CASE("crossing: what a guest sends to all reaches all others and the port, each once") {
  Crew c({{.worker = 1}, {.worker = 1}, {.worker = 0}, {.worker = 0}, {.worker = 2}}, 3);
  const Bytes frame = c.frame(c.broadcast, *c.guests[0]);
  c.send(*c.guests[0], frame);
  CHECK(c.got() == std::vector<Frames>{{}, {frame}, {frame}, {frame}, {frame}, {frame}});
  CHECK(c.count(0, W::worker_crossed_frames) == 2);  // for its guests, and for the port
  CHECK(c.count(2, W::worker_crossed_frames) == 1);
}

TEST_CASE("crossing: what comes from the port for all reaches all, each once") {
  Crew c({{.worker = 1}, {.worker = 1}, {.worker = 0}});
  const Bytes frame = make_frame(c.broadcast, c.elsewhere, 60);
  c.arrive(frame);
  CHECK(c.got() == std::vector<Frames>{{frame}, {frame}, {frame}, {}});
  CHECK(c.count(1, W::worker_crossed_frames) == 1);
}

TEST_CASE("crossing: a group's frames are for those who joined it, there as here") {
  Crew c({{.worker = 0}, {.worker = 1}, {.worker = 1}});
  for (auto& guest : c.guests) guest->queue->multicast = &guest->groups;
  c.guests[1]->groups.apply(true);
  const Bytes frame = make_frame(numbered_group(5), c.elsewhere, 60);
  c.arrive(frame);
  CHECK(c.got() == std::vector<Frames>{{frame}, {}, {frame}, {}});
  CHECK(c.guests[1]->count(Q::to_guest_multicast_filtered_frames) == 1);
}

TEST_CASE("crossing: who sees everything does so across workers, and nothing twice") {
  Crew c({{.worker = 0}, {.worker = 1, .filtered = false}, {.worker = 1}, {.worker = 0}});
  const Bytes to_other = c.frame(c.guests[3]->settings.mac, *c.guests[0]);
  c.send(*c.guests[0], to_other);
  CHECK(c.got() == std::vector<Frames>{{}, {to_other}, {}, {to_other}, {}});
  const Bytes to_port = c.frame(c.elsewhere, *c.guests[0], 70);
  c.send(*c.guests[0], to_port);
  CHECK(c.got() == std::vector<Frames>{{}, {to_port}, {}, {}, {to_port}});
  const uint64_t before = c.count(1, W::worker_crossed_frames);
  const Bytes its = c.frame(c.guests[1]->settings.mac, *c.guests[0], 80);
  c.send(*c.guests[0], its);
  CHECK(c.got() == std::vector<Frames>{{}, {its}, {}, {}, {}});
  CHECK(c.count(1, W::worker_crossed_frames) == before + 1);
  const Bytes from_it = c.frame(c.guests[3]->settings.mac, *c.guests[1], 90);
  c.send(*c.guests[1], from_it);
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}, {from_it}, {}});
}

TEST_CASE("crossing: two that see everything on another worker, one of them its owner") {
  Crew c({{.worker = 0}, {.worker = 1, .filtered = false}, {.worker = 1, .filtered = false}});
  const Bytes frame = c.frame(c.guests[1]->settings.mac, *c.guests[0]);
  c.send(*c.guests[0], frame);
  CHECK(c.got() == std::vector<Frames>{{}, {frame}, {frame}, {}});
}

TEST_CASE("crossing: from the port for nobody's address: those that see everything, wherever") {
  const Bytes frame = make_frame(Crew::elsewhere, {{2, 3, 3, 3, 3, 3}}, 60);
  Crew there({{.worker = 0}, {.worker = 1, .filtered = false}});
  there.arrive(frame);
  CHECK(there.got() == std::vector<Frames>{{}, {frame}, {}});
  Crew both({{.worker = 0, .filtered = false}, {.worker = 1, .filtered = false}});
  both.arrive(frame);
  CHECK(both.got() == std::vector<Frames>{{frame}, {frame}, {}});
  Crew none(one_each);
  none.arrive(frame);
  CHECK(none.port.count(P::port_drop_no_destination_frames) == 1);
}

TEST_CASE("crossing: a VLAN has vifs on several workers, none of which sees the tag") {
  Crew c({{.worker = 0, .vlan = 7},
          {.worker = 1, .vlan = 7},
          {.worker = 1, .vlan = 8},
          {.worker = 1}});
  const Bytes to_one = make_frame(c.guests[1]->settings.mac, c.elsewhere, 100);
  c.arrive(tagged(to_one, 7));
  CHECK(c.got() == std::vector<Frames>{{}, {to_one}, {}, {}, {}});
  const Bytes to_all = c.frame(c.broadcast, *c.guests[0]);
  c.send(*c.guests[0], to_all);
  const Bytes on_wire = tagged(to_all, 7);
  CHECK(c.got() == std::vector<Frames>{{}, {to_all}, {}, {on_wire}, {on_wire}});
  const Bytes back = c.frame(c.broadcast, *c.guests[1]);
  c.send(*c.guests[1], back);
  CHECK(c.got() == std::vector<Frames>{{back}, {}, {}, {tagged(back, 7)}, {tagged(back, 7)}});
}

TEST_CASE("crossing: on a VLAN, too, who sees everything does so across workers") {
  Crew c({{.worker = 0, .vlan = 7}, {.worker = 1, .filtered = false, .vlan = 7}, {.worker = 0}});
  const Bytes frame = make_frame(c.guests[0]->settings.mac, c.elsewhere, 100);
  c.arrive(tagged(frame, 7));
  CHECK(c.got() == std::vector<Frames>{{frame}, {frame}, {}, {}});
}

TEST_CASE("crossing: without buffers for a copy without the tag each taker counts a drop") {
  Crew c({{.worker = 0, .vlan = 7}, {.worker = 1, .vlan = 7}});
  c.port.feed(tagged(make_frame(c.broadcast, c.elsewhere, 100), 7));
  c.leave_buffers(0);
  c.turn();
  for (auto& guest : c.guests) CHECK(guest->queue->total(Q::to_guest_drop_no_buffer_frames) == 1);
  CHECK(c.guests[1]->count(Q::to_guest_drop_no_buffer_frames) == 0);  // not its worker's
}

TEST_CASE("crossing: a blank checksum stays blank for one guest and is filled in for several") {
  Crew c({{.worker = 0}, {.worker = 1}, {.worker = 1}});
  Packet packet = make_packet({});
  std::copy_n(c.guests[1]->settings.mac.addr_bytes, 6, packet.bytes.begin());
  c.send(*c.guests[0], packet.bytes, NETTXF_csum_blank);
  const auto answers = c.guests[1]->deliveries();
  REQUIRE(answers.size() == 1);
  CHECK((answers[0].flags & NETRXF_csum_blank) != 0);
  std::copy_n(c.broadcast.addr_bytes, 6, packet.bytes.begin());
  c.send(*c.guests[0], packet.bytes, NETTXF_csum_blank);
  const Bytes whole = completed(packet);
  CHECK(c.got() == std::vector<Frames>{{}, {whole}, {whole}, {whole}});
}

TEST_CASE("crossing: a GSO frame for all crosses whole, and each worker cuts it for its own") {
  Crew c({{.worker = 0}, {.worker = 1}, {.worker = 1}, {.worker = 0}});
  c.guests[0]->settings.gso_tcpv4_offered = true;
  Packet packet = make_packet({.payload = 5000, .tcp_flags = all_tcp_flags});
  std::copy_n(c.broadcast.addr_bytes, 6, packet.bytes.begin());
  put_gso_packet(*c.guests[0], packet, 1000);
  c.guests[0]->from_guest.push();
  c.turn();
  const Frames cut = segments_of(packet, 1000);
  CHECK(c.got() == std::vector<Frames>{{}, cut, cut, cut, cut});
  CHECK(c.count(1, W::worker_crossed_frames) == 1);
  for (int i : {1, 2, 3}) CHECK(c.guests[i]->count(Q::to_guest_cut_frames) == 1);
}

TEST_CASE("crossing: a GSO frame of which there is no copy for another worker is counted") {
  Crew c(one_each);
  c.guests[0]->settings.gso_tcpv4_offered = true;
  Packet packet = make_packet({.payload = 3000, .tcp_flags = all_tcp_flags});
  std::copy_n(c.broadcast.addr_bytes, 6, packet.bytes.begin());
  put_gso_packet(*c.guests[0], packet, 1000);
  c.guests[0]->from_guest.push();
  c.leave_buffers(2);  // the frame itself
  c.turn();
  CHECK(c.guests[0]->count(Q::from_guest_frames) == 1);
  CHECK(c.guests[0]->count(Q::from_guest_drop_crossing_frames) == 1);
  CHECK(c.guests[1]->count(Q::to_guest_frames) == 0);
}

TEST_CASE("crossing: a turn takes so many frames from others, in their order") {
  Crew c(one_each);
  Frames sent;
  constexpr uint32_t first = 40, all = 60;
  for (uint16_t i = 0; i < all; ++i) {
    sent.push_back(c.frame(c.guests[1]->settings.mac, *c.guests[0], 100u + i));
    c.guests[0]->put_frame(sent.back(), i);
    if (i + 1 == first || i + 1 == all) {
      c.guests[0]->from_guest.push();
      c.turn(0);
    }
  }
  c.turn(1);
  CHECK(c.got()[1] == sent);
}

TEST_CASE("crossing: frames beyond what the ring holds are dropped and counted at the sender") {
  Crew c(one_each);
  constexpr uint32_t room = limits::crossing_ring_frames - 1;
  constexpr uint32_t more = 37;
  for (uint16_t i = 0; i < room + more; ++i) {
    c.put(*c.guests[0], c.frame(c.guests[1]->settings.mac, *c.guests[0]));
    if (i % 32 == 31) c.turn(0);
    c.guests[0]->answers();
  }
  c.turn(0);
  CHECK(c.guests[0]->count(Q::from_guest_drop_crossing_frames) == more);
  c.port.feed(make_frame(c.guests[1]->settings.mac, c.elsewhere, 60));
  c.turn(0);
  CHECK(c.port.count(P::port_drop_crossing_frames) == 1);
  // And a turn takes its share of them.
  for (uint32_t taken = limits::turn_crossings_max; taken < room;
       taken += limits::turn_crossings_max) {
    c.turn(1);
    CHECK(c.count(1, W::worker_crossed_frames) == taken);
  }
  c.turn(1);
  CHECK(c.count(1, W::worker_crossed_frames) == room);
}

TEST_CASE("crossing: no worker's ring is always looked at last") {
  Crew c({{.worker = 0}, {.worker = 1}, {.worker = 2}}, 3);
  constexpr uint32_t of_three_turns = 3 * limits::turn_crossings_max;
  static_assert(of_three_turns < limits::crossing_ring_frames);
  for (uint16_t sender : {0, 1}) {
    for (uint32_t i = 0; i < of_three_turns; ++i) {
      c.put(*c.guests[sender],
            c.frame(c.guests[2]->settings.mac, *c.guests[sender], 100u + sender));
      if (i % 32 == 31) c.turn(sender);
      c.guests[sender]->answers();
    }
  }
  for (int i = 0; i < 3; ++i) c.turn(2);
  const Backlog& backlog = c.guests[2]->queue->backlog;
  std::set<uint32_t> lengths;
  for (uint32_t i = 0; i < backlog.count(); ++i) lengths.insert(backlog.at(i)->pkt_len);
  CHECK(lengths == std::set{100u, 101u});
  CHECK(c.count(2, W::worker_crossed_frames) == of_three_turns);
}

TEST_CASE("crossing: what a busy port does not take is counted at its vif, whoever drops it") {
  Crew c(one_each, 2, 1);
  for (int i = 0; i < 5; ++i) c.put(*c.guests[1], c.frame(c.elsewhere, *c.guests[1]));
  c.turn();
  CHECK(c.port.sent_bytes().size() == 1);
  CHECK(c.guests[1]->queue->total(Q::from_guest_drop_port_full_frames) == 4);
  CHECK(c.guests[1]->count(Q::from_guest_drop_port_full_frames) == 0);  // not its worker's
  CHECK(c.guests[1]->queue->elsewhere.read(Q::from_guest_drop_port_full_frames) == 4);
}

TEST_CASE("crossing: for a vif that has left meanwhile: dropped and counted by who finds that") {
  Crew c(one_each);
  c.put(*c.guests[0], c.frame(c.guests[1]->settings.mac, *c.guests[0]));
  c.turn(0);
  c.vifs.pop_back();
  c.use_table();
  CHECK(c.guests[1]->count(Q::to_guest_frames) == 0);
  CHECK(c.count(1, W::worker_drop_gone_frames) == 1);
}

TEST_CASE("crossing: from a vif that has left meanwhile: to the port, and to all") {
  Crew c(one_each);
  c.put(*c.guests[1], c.frame(c.elsewhere, *c.guests[1]));
  c.put(*c.guests[1], c.frame(c.broadcast, *c.guests[1]));
  c.turn(1);
  c.vifs.pop_back();
  c.use_table();
  CHECK(c.got() == std::vector<Frames>{{}, {}, {}});
  CHECK(c.count(0, W::worker_drop_gone_frames) == 3);
}

TEST_CASE("crossing: for a vif whose index is another's by now: not the other's frame") {
  Crew c(one_each);
  const Bytes frame = c.frame(c.guests[1]->settings.mac, *c.guests[0]);
  c.put(*c.guests[0], frame);
  c.put(*c.guests[0], c.frame(c.broadcast, *c.guests[0]));
  c.turn(0);
  for (auto& vif : c.vifs) vif.since = c.serial + 1;  // both connected anew, before the frames
  c.use_table();
  CHECK(c.got() == std::vector<Frames>{{}, {}, {c.frame(c.broadcast, *c.guests[0])}});
  CHECK(c.count(1, W::worker_drop_gone_frames) == 2);
  c.send(*c.guests[0], frame);
  CHECK(c.got() == std::vector<Frames>{{}, {frame}, {}});
}

TEST_CASE("crossing: a table that knows a vif longer than the frame takes it") {
  Crew c(one_each);
  c.put(*c.guests[0], c.frame(c.guests[1]->settings.mac, *c.guests[0]));
  c.turn(0);
  for (auto& vif : c.vifs) vif.since = 1;
  c.use_table({1});
  CHECK(c.guests[1]->count(Q::to_guest_frames) == 1);
}

TEST_CASE("crossing: a vif that the sender does not know yet gets nothing from it, and no harm") {
  Crew c(one_each);
  c.vifs.pop_back();
  c.use_table({1});
  c.send(*c.guests[0], c.frame(c.guests[1]->settings.mac, *c.guests[0]));
  CHECK(c.guests[1]->count(Q::to_guest_frames) == 0);
  CHECK(c.count(1, W::worker_drop_gone_frames) == 1);
}

TEST_CASE("crossing: frames on their way when the workers go are freed") {
  Crew c(one_each);
  c.put(*c.guests[0], c.frame(c.guests[1]->settings.mac, *c.guests[0]));
  c.turn(0);
  const uint32_t held = c.pool->free_buffers();
  CHECK(held < c.pool->buffers());
  c.crossings.reset();
  CHECK(c.pool->free_buffers() == held + 1);
  std::vector<Mailbox*> ends = {c.mailboxes[0].get(), c.mailboxes[1].get()};
  for (auto& worker : c.workers) worker.reset();
  c.crossings = std::move(Crossings::make(ends)).value();
  for (uint16_t i = 0; i < 2; ++i)
    c.workers[i] =
        std::make_unique<Worker>(WorkerOptions{.spin_us = Idle::spin_always}, *c.mailboxes[i],
                                 *c.grants, *c.events, *c.pool, &c.crossings->end(i));
}

TEST_CASE("crossing: who sends wakes who sleeps, once, and nobody else") {
  Crew c(one_each, 3);
  const auto frame = [&](uint16_t to) {
    Crossing crossing{.frame = make_mbuf(*c.pool, c.frame(c.broadcast, *c.guests[0])),
                      .table = 0,
                      .to = Crossing::To::vif};
    CrossingEnd& end = c.crossings->end(0);
    end.put(to, crossing);
    REQUIRE(end.send(to).empty());
  };
  const auto woken = [&](uint16_t worker) {
    const bool is = is_woken(c.mailboxes[worker]->worker_fd());
    c.mailboxes[worker]->clear_worker_fd();
    return is;
  };
  for (uint16_t worker : {0, 1, 2}) woken(worker);
  frame(1);
  CHECK_FALSE(woken(1));  // it does not sleep
  c.crossings->end(1).arm();
  c.crossings->end(2).arm();
  frame(1);
  CHECK(woken(1));
  CHECK_FALSE(woken(2));
  frame(1);
  CHECK_FALSE(woken(1));  // it was woken already
  c.crossings->end(1).arm();
  c.crossings->end(1).disarm();
  frame(1);
  CHECK_FALSE(woken(1));
}

TEST_CASE("crossing: there are rings for as many workers as there can be") {
  Bench bench;
  std::vector<Mailbox> mailboxes(limits::workers_max);
  std::vector<Mailbox*> ends;
  for (Mailbox& mailbox : mailboxes) ends.push_back(&mailbox);
  CHECK(Crossings::make(ends));
}
