// The two bounded queues between control and a worker.
#include "dataplane/messages.hpp"

#include <poll.h>
#include <catch2/catch.hpp>

using namespace netback;

namespace {

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE("messages: commands arrive in order and wake the worker") {
  Mailbox mailbox;
  CHECK_FALSE(readable(mailbox.worker_fd()));
  CHECK(mailbox.post({.sequence = 1, .what = Stop{}}));
  CHECK(mailbox.post({.sequence = 2, .what = Stop{}}));
  CHECK(readable(mailbox.worker_fd()));
  CHECK_FALSE(readable(mailbox.control_fd()));
  Command command;
  REQUIRE(mailbox.next_command(command));
  CHECK(command.sequence == 1);
  REQUIRE(mailbox.next_command(command));
  CHECK(command.sequence == 2);
  CHECK_FALSE(mailbox.next_command(command));
  mailbox.clear_worker_fd();
  CHECK_FALSE(readable(mailbox.worker_fd()));
  mailbox.clear_worker_fd();  // harmless
}

TEST_CASE("messages: a table of mapped pages arrives with its queue, none as none") {
  Mailbox mailbox;
  // Nobody looks behind the pointers.
  auto* queue = reinterpret_cast<GuestQueue*>(uintptr_t{64});
  const StagingTable table({});
  for (const StagingTable* sent : {&table, static_cast<const StagingTable*>(nullptr)}) {
    REQUIRE(mailbox.post({.sequence = 5, .what = UseStaging{queue, sent}}));
    Command command;
    REQUIRE(mailbox.next_command(command));
    CHECK(command.sequence == 5);
    const auto* use = std::get_if<UseStaging>(&command.what);
    REQUIRE(use != nullptr);
    CHECK(use->queue == queue);
    CHECK(use->table == sent);
  }
}

TEST_CASE("messages: reports arrive in order and wake control") {
  Mailbox mailbox;
  mailbox.report(Acked{7});
  mailbox.report(Quarantined{nullptr, Violation::bad_gso, 5});
  CHECK(readable(mailbox.control_fd()));
  Report report;
  REQUIRE(mailbox.next_report(report));
  CHECK(std::get<Acked>(report).sequence == 7);
  REQUIRE(mailbox.next_report(report));
  CHECK(std::get<Quarantined>(report).violation == Violation::bad_gso);
  CHECK(std::get<Quarantined>(report).slot == 5);
  CHECK_FALSE(mailbox.next_report(report));
  mailbox.clear_control_fd();
  CHECK_FALSE(readable(mailbox.control_fd()));
}

TEST_CASE("messages: a full command queue refuses and says so") {
  Mailbox mailbox;
  for (uint32_t i = 0; i < limits::command_queue_max; ++i)
    REQUIRE(mailbox.post({.sequence = i, .what = Stop{}}));
  CHECK_FALSE(mailbox.post({.sequence = 999, .what = Stop{}}));
  Command command;
  REQUIRE(mailbox.next_command(command));
  CHECK(mailbox.post({.sequence = 999, .what = Stop{}}));
}
