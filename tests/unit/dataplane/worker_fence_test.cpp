// What a worker says when it has seen all that control wrote before.
#include "dataplane/worker.hpp"

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("worker: a fence is acked, and changes nothing") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  Report report;
  while (host.mailbox.next_report(report)) {
  }
  REQUIRE(host.mailbox.post({.sequence = 77, .what = Fence{}}));
  host.worker.turn();
  REQUIRE(host.mailbox.next_report(report));
  CHECK(std::get<Acked>(report).sequence == 77);
  guest.put_frame(host.frame(elsewhere, guest), 1);
  guest.from_guest.push();
  CHECK(host.worker.turn());
}
