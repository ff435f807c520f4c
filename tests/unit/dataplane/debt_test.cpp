// Turns shared by work: what a vif owes, and how it makes up for it.
#include "dataplane/from_guest/collect.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A host with three guests; what the first one's frames cost it.
struct Debts : TestHost {
  explicit Debts(bool last_unfiltered = false) {
    for (uint32_t i = 0; i < 3; ++i) {
      TestGuest& guest = add_guest(0, !(last_unfiltered && i == 2));
      guest.settings.gso_tcpv4_offered = true;
      guest.post_buffers(60);
    }
  }
  uint32_t& debt(uint32_t guest) { return guests[guest]->queue->debt_slots; }
  uint32_t cost_of(const rte_ether_addr& to, uint16_t count = 1) {
    for (uint16_t i = 0; i < count; ++i) guests[0]->put_frame(frame(to, *guests[0]), i);
    return turn_cost();
  }
  // Of a frame that stands for ten.
  uint32_t cost_of_ten(const rte_ether_addr& to) {
    Packet packet = make_packet({.payload = 10'000});
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    put_gso_packet(*guests[0], packet, 1000);
    return turn_cost();
  }
  uint32_t turn_cost() {
    guests[0]->from_guest.push();
    turn();
    return debt(0);
  }
};

// Guests that have 250 requests each, or none.
struct Shares : FromGuestStages {
  std::vector<std::unique_ptr<TestGuest>> guests;
  explicit Shares(std::vector<bool> busy) {
    for (uint16_t i = 0; i < busy.size(); ++i) {
      guests.push_back(std::make_unique<TestGuest>(i, static_cast<uint16_t>(7 + i)));
      queues.add(*guests[i]->queue);
      for (uint32_t slot = 0; busy[i] && slot < 250; ++slot) guests[i]->put_slot(0, 60);
      guests[i]->from_guest.push();
    }
  }
  uint32_t& debt(uint32_t guest) { return guests[guest]->queue->debt_slots; }
  // Slots that the next turn has of each.
  std::vector<uint32_t> collect() {
    from_guest::collect(queues, batch, 0, 0);
    std::vector<uint32_t> slots(guests.size());
    for (uint32_t r = 0; r < batch.run_count; ++r)
      slots[batch.runs[r].queue->vif] += batch.runs[r].slot_count;
    return slots;
  }
};

using Slots = std::vector<uint32_t>;

}  // namespace

TEST_CASE("debt: frames to the port owe nothing, frames to another guest one slot each") {
  Debts host;
  CHECK(host.cost_of(elsewhere, 5) == 0);
  CHECK(host.cost_of(host.guests[1]->settings.mac, 5) == 5);
  CHECK(host.debt(1) == 0);
  CHECK(host.debt(2) == 0);
}

TEST_CASE("debt: a frame to all owes one for each guest that gets it") {
  Debts host;
  CHECK(host.cost_of(broadcast) == 2);
}

TEST_CASE("debt: a frame that a guest's backlog has no room for owes as well") {
  Debts host;
  host.guests[1]->settings.backlog_frames_max = 0;
  CHECK(host.cost_of(host.guests[1]->settings.mac, 5) == 5);
}

TEST_CASE("debt: what comes from the port is nobody's") {
  Debts host;
  host.ports[0]->feed(make_frame(broadcast, elsewhere, 60));
  host.turn();
  for (uint32_t i = 0; i < 3; ++i) CHECK(host.debt(i) == 0);
}

TEST_CASE("debt: a frame that is cut owes each of those that it stands for") {
  Debts to_port, to_guest, whole, to_all(true);
  CHECK(to_port.cost_of_ten(elsewhere) == 10);
  CHECK(to_guest.cost_of_ten(to_guest.guests[1]->settings.mac) == 11);
  whole.guests[1]->settings.takes_gso_tcpv4 = true;
  CHECK(whole.cost_of_ten(whole.guests[1]->settings.mac) == 1);
  // Cut for who sees everything, who gets ten; and for the port.
  CHECK(to_all.cost_of_ten(elsewhere) == 30);
}

TEST_CASE("debt: the frames of a vif's second queue are owed by the vif") {
  TestHost host;
  TestGuest& first = host.add_guest();
  TestGuest& second = host.add_queue(first);
  TestGuest& other = host.add_guest();
  second.put_frame(host.frame(other.settings.mac, first), 1);
  second.from_guest.push();
  host.turn();
  CHECK(first.queue->debt_slots == 1);
  CHECK(second.queue->debt_slots == 0);
}

TEST_CASE("collect: while others want the turn, a vif is passed over once for each share it owes") {
  Shares shares({true, true});
  shares.debt(0) = 64 + 64 + 63;
  CHECK(shares.collect() == Slots{0, 64});
  CHECK(shares.collect() == Slots{0, 64});
  CHECK(shares.collect() == Slots{64, 64});
  CHECK(shares.debt(0) == 63);  // goes on when there is more
}

TEST_CASE("collect: a vif that owes has the turn when nobody else wants it") {
  Shares shares({true, false});
  shares.debt(0) = 1000;
  CHECK(shares.collect() == Slots{64, 0});
  CHECK(shares.debt(0) == 0);
}

TEST_CASE("collect: of those that owe who owes least has the turn, and that much is forgiven all") {
  Shares shares({true, true, false, true});
  shares.debt(0) = 1064;
  shares.debt(1) = 364;
  shares.debt(2) = 64;  // nothing to send
  shares.debt(3) = 764;
  CHECK(shares.collect() == Slots{0, 64, 0, 0});
  CHECK(shares.debt(0) == 700);
  CHECK(shares.debt(1) == 0);
  CHECK(shares.debt(2) == 0);
  CHECK(shares.debt(3) == 400);
}

TEST_CASE("collect: nobody owes who is alone") {
  Shares shares({true});
  shares.debt(0) = GENERATE(1000u, 5u);  // more than a share, less than one
  CHECK(shares.collect() == Slots{128});
  CHECK(shares.debt(0) == 0);
}

TEST_CASE("collect: all queues of a vif make up for what one of them owes") {
  Shares shares({false, true, true});
  std::vector<GuestQueue*> both{shares.guests[0]->queue.get(), shares.guests[1]->queue.get()};
  for (GuestQueue* queue : both) shares.queues.remove(*queue);
  make_siblings(both);
  for (GuestQueue* queue : both) shares.queues.add(*queue);
  shares.debt(0) = 64;
  CHECK(shares.collect() == Slots{0, 0, 64});
  CHECK(shares.collect() == Slots{64, 0, 64});  // both are queues of vif 0
}

TEST_CASE("collect: an impossible producer is found though its vif owes, when nobody else sends") {
  Shares shares({false, false});
  shares.debt(0) = 640;
  shares.guests[0]->from_guest.req_prod() += 1000;
  shares.collect();
  REQUIRE(shares.batch.run_count == 1);
  CHECK(shares.batch.runs[0].violation == Violation::impossible_producer);
}
