// UseStaging: which of a guest's pages are mapped.
#include "dataplane/worker.hpp"

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("worker: mapped pages are used from the ack on, and not any more when they are gone") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  const Bytes frame = host.frame(elsewhere, guest);
  const uint32_t reference = guest.data_page(frame);
  const StagingTable table{std::vector<StagingTable::Page>{
      {.bytes = guest.page(0), .reference = reference, .writable = false}}};
  uint64_t staged = 0, called = 0;
  for (const StagingTable* used : {&table, static_cast<const StagingTable*>(nullptr), &table}) {
    const uint32_t sequence = host.post(UseStaging{guest.queue.get(), used});
    CHECK_FALSE(host.acked(sequence));
    guest.put_slot(1, static_cast<uint16_t>(frame.size()), 0, 0, reference);
    guest.from_guest.push();
    host.turn(2);
    CHECK(host.acked(sequence));
    CHECK(guest.queue->staging == used);
    CHECK(host.ports[0]->sent_bytes() == std::vector<Bytes>{frame});
    (used != nullptr ? staged : called) += 1;
    CHECK(guest.count(QueueCounter::from_guest_staged_copies) == staged);
    CHECK(guest.count(QueueCounter::from_guest_copy_calls) == called);
    CHECK(xen().copy_calls == called);
  }
}

TEST_CASE("worker: the mapped pages of a guest are of no use to another") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  TestGuest& other = host.add_guest();
  const StagingTable table({});
  host.post(UseStaging{guest.queue.get(), &table});
  host.turn();
  CHECK(guest.queue->staging == &table);
  CHECK(other.queue->staging == nullptr);
  CHECK_FALSE(host.worker.turn());  // it is no command to stop, nor one that moves a frame
}
