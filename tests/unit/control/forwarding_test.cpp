// How tables follow the vifs that come and go.
#include "control/forwarding.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// Forwarding, and a worker that takes a command when told to.
struct Bench {
  Mailbox mailbox;
  WorkerLink link{mailbox};
  Forwarding forwarding{{&link}};
  PortQueue port{.port = 3};
  std::vector<std::unique_ptr<TestGuest>> guests;
  const ForwardTable* table = nullptr;      // the worker's
  std::vector<const GuestQueue*> attached;  // in this order
  uint32_t tables = 0;
  std::vector<const PortQueue*> ports;  // the worker's

  Bench() {
    FakeXen::instance().reset();
    REQUIRE(forwarding.attach_ports({&port}));
    work();
    tables = 0;
  }
  const GuestQueue* add() {
    const auto index = static_cast<uint16_t>(guests.size());
    guests.push_back(std::make_unique<TestGuest>(index));
    GuestQueue* queue = guests.back()->queue.get();
    forwarding.add({.queue = queue, .port = 3, .mac = guests.back()->settings.mac});
    return queue;
  }
  // Takes all commands there are; what they lead to comes with the next call.
  void work() {
    std::vector<Command> commands;
    for (Command command; mailbox.next_command(command);) commands.push_back(command);
    for (const Command& command : commands) {
      if (const auto* use = std::get_if<UseTable>(&command.what)) {
        table = use->table;
        ++tables;
      } else if (const auto* attach = std::get_if<AttachQueue>(&command.what)) {
        REQUIRE(table->queue_of_vif(attach->queue->vif) == &attach->queue->first_of_vif());
        attached.push_back(attach->queue);
      } else if (const auto* with = std::get_if<AttachPort>(&command.what)) {
        // In the first table of all comes after its ports: nothing runs yet.
        if (table != nullptr) REQUIRE(table->segment(with->port->port) != nullptr);
        ports.push_back(with->port);
      } else if (const auto* without = std::get_if<DetachPort>(&command.what)) {
        REQUIRE(table->segment(without->port->port) == nullptr);
        std::erase(ports, without->port);
      }
      mailbox.report(Acked{command.sequence});
    }
    link.handle_reports();
  }
};

}  // namespace

TEST_CASE("forwarding_a_queue_is_attached_after_the_table_that_leads_to_it") {
  Bench b;
  const GuestQueue* queue = b.add();
  b.work();
  CHECK(b.attached == std::vector{queue});
  CHECK(b.tables == 1);
  CHECK(b.link.unacked() == 0);
}

TEST_CASE("forwarding_a_port_is_attached_after_the_table_that_has_it_and_goes_in_reverse") {
  Bench b;
  const GuestQueue* queue = b.add();
  b.work();
  PortQueue other{.port = 5};
  b.forwarding.add_port(other);
  b.work();
  CHECK(b.ports == std::vector<const PortQueue*>{&b.port, &other});
  bool gone = false;
  b.forwarding.remove_port(other, [&] { gone = true; });
  b.work();  // the table; only then it is taken from the worker
  CHECK(b.ports.size() == 2);
  CHECK_FALSE(gone);
  b.work();
  CHECK(gone);
  CHECK(b.ports == std::vector<const PortQueue*>{&b.port});
  CHECK(b.table->segment(5) == nullptr);
  CHECK(b.table->queue_of_vif(0) == queue);
  CHECK(b.link.unacked() == 0);
}

TEST_CASE("forwarding_a_port_that_goes_before_it_was_attached_never_is") {
  Bench b;
  PortQueue other{.port = 5};
  b.add();  // its table is on the way
  b.forwarding.add_port(other);
  b.forwarding.remove_port(other, [] {});
  for (int i = 0; i < 3; ++i) b.work();
  CHECK(b.ports == std::vector<const PortQueue*>{&b.port});
  CHECK(b.link.unacked() == 0);
}

TEST_CASE("forwarding_vifs_that_connect_together_share_a_table") {
  Bench b;
  for (int i = 0; i < 300; ++i) b.add();
  for (int i = 0; i < 3; ++i) b.work();
  CHECK(b.tables == 2);  // that of the first, and that of all
  CHECK(b.attached.size() == 300);
  for (const auto& guest : b.guests) CHECK(b.table->queue_of_vif(guest->queue->vif) != nullptr);
}

TEST_CASE("forwarding_a_removal_is_told_when_no_table_has_the_queue") {
  Bench b;
  const GuestQueue* first = b.add();
  const GuestQueue* second = b.add();
  b.work();
  b.work();
  int gone = 0;
  const auto told = [&] {
    ++gone;
    CHECK(b.table->queue_of_vif(0) == nullptr);
  };
  b.forwarding.remove(first, told);
  CHECK(gone == 0);
  b.work();
  CHECK(gone == 1);
  CHECK(b.table->queue_of_vif(1) == second);
}

TEST_CASE("forwarding_removals_behind_a_table_on_its_way_are_told_after_the_next") {
  Bench b;
  const GuestQueue* first = b.add();  // its table is on its way
  const GuestQueue* second = b.add();
  std::vector<int> gone;
  b.forwarding.remove(first, [&] { gone.push_back(1); });
  b.forwarding.remove(second, [&] { gone.push_back(2); });
  b.work();
  CHECK(gone.empty());
  b.work();
  CHECK(gone == std::vector{1, 2});
  CHECK(b.tables == 2);
  // The second was in no table: the worker has never heard of it.
  CHECK(b.attached == std::vector{first});
}

TEST_CASE("forwarding_who_is_told_may_go_on_removing") {
  Bench b;
  const GuestQueue* first = b.add();
  const GuestQueue* second = b.add();
  b.work();
  b.work();
  bool done = false;
  b.forwarding.remove(first, [&] { b.forwarding.remove(second, [&] { done = true; }); });
  b.work();
  CHECK_FALSE(done);
  b.work();
  CHECK(done);
}

TEST_CASE("forwarding_all_queues_of_a_vif_are_attached_or_none") {
  Bench b;
  TestGuest first(5), second(6, 8), third(7, 9);
  const std::vector<GuestQueue*> queues{first.queue.get(), second.queue.get(), third.queue.get()};
  make_siblings(queues);
  b.forwarding.add({.queue = queues[0], .port = 3, .mac = first.settings.mac});
  b.work();
  CHECK(b.attached == std::vector<const GuestQueue*>(queues.begin(), queues.end()));
  CHECK(b.tables == 1);
  b.forwarding.remove(queues[0], [] {});
  b.work();
  // Gone before the worker heard of it.
  b.attached.clear();
  b.add();  // its table is on its way
  b.forwarding.add({.queue = queues[0], .port = 3, .mac = first.settings.mac});
  b.forwarding.remove(queues[0], [] {});
  for (int i = 0; i < 3; ++i) b.work();
  CHECK(b.attached == std::vector<const GuestQueue*>{b.guests[0]->queue.get()});
}

TEST_CASE("forwarding_each_queue_pair_of_a_port_goes_to_its_worker_once") {
  FakeXen::instance().reset();
  Mailbox mailboxes[2];
  WorkerLink links[2] = {WorkerLink(mailboxes[0]), WorkerLink(mailboxes[1])};
  Forwarding forwarding({&links[0], &links[1]});
  PortQueue pairs[2] = {{.port = 3, .worker = 1}, {.port = 3, .queue = 1}};
  for (PortQueue& pair : pairs) pair.by_worker = {&pairs[1], &pairs[0]};
  REQUIRE(forwarding.attach_ports({&pairs[0]}));
  for (int worker : {0, 1}) {
    std::vector<PortQueue*> attached;
    for (Command command; mailboxes[worker].next_command(command);) {
      if (const auto* port = std::get_if<AttachPort>(&command.what)) {
        attached.push_back(port->port);
      } else {
        CHECK(std::get<UseTable>(command.what).table->segment(3)->port == &pairs[0]);
      }
      mailboxes[worker].report(Acked{command.sequence});
    }
    CHECK(attached == std::vector{&pairs[1 - worker]});
    links[worker].handle_reports();
  }
}

TEST_CASE("forwarding_a_port_of_two_pairs_is_gone_when_both_workers_have_let_it_go") {
  FakeXen::instance().reset();
  Mailbox mailboxes[2];
  WorkerLink links[2] = {WorkerLink(mailboxes[0]), WorkerLink(mailboxes[1])};
  Forwarding forwarding({&links[0], &links[1]});
  PortQueue pairs[2] = {{.port = 3}, {.port = 3, .queue = 1, .worker = 1}};
  for (PortQueue& pair : pairs) pair.by_worker = {&pairs[0], &pairs[1]};
  std::vector<PortQueue*> detached[2];
  const auto work = [&](int worker) {
    for (Command command; mailboxes[worker].next_command(command);) {
      if (const auto* port = std::get_if<DetachPort>(&command.what))
        detached[worker].push_back(port->port);
      mailboxes[worker].report(Acked{command.sequence});
    }
    links[worker].handle_reports();
  };
  REQUIRE(forwarding.attach_ports({&pairs[0]}));
  for (int worker : {0, 1}) work(worker);
  bool gone = false;
  forwarding.remove_port(pairs[0], [&] { gone = true; });
  work(0);
  work(0);
  CHECK(detached[0].empty());  // the other's table has it yet
  work(1);
  work(0);
  CHECK(detached[0] == std::vector{&pairs[0]});
  CHECK_FALSE(gone);
  work(1);
  CHECK(detached[1] == std::vector{&pairs[1]});
  CHECK(gone);
}

TEST_CASE("forwarding_of_two_workers_each_has_its_queues_and_ports_and_all_have_the_table") {
  FakeXen::instance().reset();
  Mailbox mailboxes[2];
  WorkerLink links[2] = {WorkerLink(mailboxes[0]), WorkerLink(mailboxes[1])};
  Forwarding forwarding({&links[0], &links[1]});
  PortQueue ports[2] = {{.port = 3}, {.port = 4, .worker = 1}};
  const ForwardTable* tables[2] = {};
  std::vector<PortQueue*> attached_ports[2];
  std::vector<GuestQueue*> attached[2];
  const auto work = [&](int worker) {
    for (Command command; mailboxes[worker].next_command(command);) {
      if (const auto* use = std::get_if<UseTable>(&command.what)) tables[worker] = use->table;
      if (const auto* port = std::get_if<AttachPort>(&command.what))
        attached_ports[worker].push_back(port->port);
      if (const auto* queue = std::get_if<AttachQueue>(&command.what))
        attached[worker].push_back(queue->queue);
      mailboxes[worker].report(Acked{command.sequence});
    }
    links[worker].handle_reports();
  };
  REQUIRE(forwarding.attach_ports({&ports[0], &ports[1]}));
  for (int worker : {0, 1}) work(worker);
  CHECK(attached_ports[0] == std::vector{&ports[0]});
  CHECK(attached_ports[1] == std::vector{&ports[1]});

  TestGuest guest(0);
  guest.queue->worker = 1;
  forwarding.add({.queue = guest.queue.get(), .port = 3, .mac = guest.settings.mac});
  for (int worker : {0, 1}) work(worker);
  CHECK(attached[0].empty());
  CHECK(attached[1] == std::vector{guest.queue.get()});
  for (const ForwardTable* table : tables) {
    CHECK(table->queue_of_vif(0) == guest.queue.get());
    CHECK(table->queue_of_vif(0, table->serial()) == guest.queue.get());
    CHECK(table->queue_of_vif(0, table->serial() - 1) == nullptr);  // it was in none before
  }
  const uint32_t since = tables[0]->serial();

  TestGuest second(1);
  forwarding.add({.queue = second.queue.get(), .port = 3, .mac = second.settings.mac});
  for (int worker : {0, 1}) work(worker);
  CHECK(tables[0]->serial() > since);
  CHECK(tables[0]->queue_of_vif(0, since) == guest.queue.get());
  CHECK(tables[0]->queue_of_vif(1, since) == nullptr);

  bool gone = false;
  forwarding.remove(guest.queue.get(), [&] { gone = true; });
  work(1);
  CHECK_FALSE(gone);  // the other may send to it yet
  CHECK(tables[0]->queue_of_vif(0) == guest.queue.get());
  work(0);
  CHECK(gone);
  CHECK(tables[0]->queue_of_vif(0) == nullptr);
}
