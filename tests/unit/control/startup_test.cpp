#include "control/startup.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "control/worker_link.hpp"

using namespace netback;

namespace {

// Three steps that write down what they do.
struct Recorded {
  std::vector<std::string> events;

  StartStep step(const std::string& name, int code = exit_code::failed, bool fails = false) {
    return {name,
            [this, name, fails]() -> Status {
              if (fails) return Error{"no luck", "try again"};
              events.push_back("+" + name);
              return Done{};
            },
            [this, name] { events.push_back("-" + name); }, code};
  }
};

using Events = std::vector<std::string>;

}  // namespace

TEST_CASE("startup_steps_run_in_order_and_are_undone_in_reverse_once") {
  Recorded r;
  std::string message;
  {
    Startup startup({r.step("a"), r.step("b"), r.step("c")});
    CHECK(startup.run(message) == exit_code::done);
    CHECK(r.events == Events{"+a", "+b", "+c"});
    startup.undo();
    startup.undo();
  }
  CHECK(r.events == Events{"+a", "+b", "+c", "-c", "-b", "-a"});
  CHECK(message.empty());
}

TEST_CASE("startup_what_is_not_undone_by_hand_is_undone_at_the_end") {
  Recorded r;
  std::string message;
  { CHECK(Startup({r.step("a"), r.step("b")}).run(message) == exit_code::done); }
  CHECK(r.events == Events{"+a", "+b", "-b", "-a"});
}

TEST_CASE("seed_L1_a_step_that_fails_undoes_those_before_it_and_only_those") {
  Recorded r;
  std::string message;
  Startup startup({r.step("a"), r.step("b"), r.step("c", exit_code::nobody, true), r.step("d")});
  CHECK(startup.run(message) == exit_code::nobody);
  CHECK(r.events == Events{"+a", "+b", "-b", "-a"});
  CHECK(message == "c: no luck (fix: try again)");
}

TEST_CASE("seed_L1_whichever_step_fails_the_later_ones_do_not_run") {
  for (const size_t failing : {0u, 1u, 2u}) {
    Recorded r;
    std::string message;
    Startup startup({r.step("a", exit_code::failed, failing == 0),
                     r.step("b", exit_code::busy, failing == 1),
                     r.step("c", exit_code::failed, failing == 2)});
    CHECK(startup.run(message) == (failing == 1 ? exit_code::busy : exit_code::failed));
    CHECK(message.starts_with(std::string(1, static_cast<char>('a' + failing)) + ": "));
    CHECK(r.events.size() == 2 * failing);
  }
}

TEST_CASE("startup_what_somebody_else_holds_is_busy_whatever_the_step_s_exit_code") {
  std::string message;
  const auto busy = [](int code) {
    return StartStep{"a", [] { return Status(Error{"held", "wait", true}); }, {}, code};
  };
  CHECK(Startup({busy(exit_code::failed)}).run(message) == exit_code::busy);
  CHECK(Startup({busy(exit_code::nobody)}).run(message) == exit_code::busy);
}

TEST_CASE("startup_a_step_without_an_undo_is_passed_over") {
  Recorded r;
  std::string message;
  StartStep bare = r.step("b");
  bare.undo = {};
  Startup startup({r.step("a"), bare});
  CHECK(startup.run(message) == exit_code::done);
  startup.undo();
  CHECK(r.events == Events{"+a", "+b", "-a"});
}

TEST_CASE("startup_a_reason_without_a_fix_is_said_alone") {
  CHECK(with_fix({"broken"}) == "broken");
  CHECK(with_fix({"broken", "mend it"}) == "broken (fix: mend it)");
}

TEST_CASE("worker_link_an_ack_calls_back_once_in_the_order_of_the_worker_s_acks") {
  Mailbox mailbox;
  WorkerLink link(mailbox);
  std::vector<int> acked;
  link.post(Stop{}, [&] { acked.push_back(1); });
  link.post(Stop{}, [&] { acked.push_back(2); });
  CHECK(link.unacked() == 2);
  Command first, second;
  REQUIRE(mailbox.next_command(first));
  REQUIRE(mailbox.next_command(second));
  mailbox.report(Acked{second.sequence});
  link.handle_reports();
  CHECK(acked == std::vector{2});
  mailbox.report(Acked{first.sequence});
  link.handle_reports();
  CHECK(acked == std::vector{2, 1});
  CHECK(link.unacked() == 0);
}

TEST_CASE("worker_link_what_a_full_mailbox_does_not_take_comes_later_in_order") {
  Mailbox mailbox;
  WorkerLink link(mailbox);
  const uint32_t count = limits::command_queue_max + 50;
  for (uint32_t i = 0; i < count; ++i) link.post(Stop{});
  uint32_t expected = 1;
  Command command;
  while (expected <= count) {
    REQUIRE(mailbox.next_command(command));
    CHECK(command.sequence == expected++);
    mailbox.report(Acked{command.sequence});
    link.handle_reports();
  }
  CHECK_FALSE(mailbox.next_command(command));
  CHECK(link.unacked() == 0);
}

TEST_CASE("worker_link_a_quarantine_is_handed_on") {
  Mailbox mailbox;
  WorkerLink link(mailbox);
  uint32_t slot = 0;
  link.on_quarantined([&](const Quarantined& report) { slot = report.slot; });
  mailbox.report(Quarantined{nullptr, Violation::bad_gso, 7});
  link.handle_reports();
  CHECK(slot == 7);
}

TEST_CASE("worker_link_a_callback_may_post") {
  Mailbox mailbox;
  WorkerLink link(mailbox);
  bool done = false;
  link.post(Stop{}, [&] { link.post(Stop{}, [&] { done = true; }); });
  for (int i = 0; i < 2; ++i) {
    Command command;
    REQUIRE(mailbox.next_command(command));
    mailbox.report(Acked{command.sequence});
    link.handle_reports();
  }
  CHECK(done);
}
