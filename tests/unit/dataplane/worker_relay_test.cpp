// Guests that send streams to each other: the worker polls on for more of them.
#include <rte_cycles.h>

#include <thread>

#include "dataplane/worker.hpp"
#include "tests/unit/support/crew.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr size_t frame_bytes = 1000;
constexpr int stream_frames = limits::relayed_bytes_min / frame_bytes;
static_assert(stream_frames * frame_bytes == limits::relayed_bytes_min);

// Known once DPDK has started.
uint64_t ms() {
  return rte_get_tsc_hz() / 1000;
}

struct Relaying : TestHost {
  TestGuest& sender = add_guest();
  TestGuest& receiver = add_guest();

  explicit Relaying(uint32_t spin_us = Idle::spin_always) : TestHost({.spin_us = spin_us}) {
    receiver.post_buffers(60);
    turn(2);
  }
  // Just what makes a stream, less so many bytes.
  void put(const rte_ether_addr& to, size_t less = 0) {
    for (uint8_t i = 0; i < stream_frames; ++i)
      sender.put_frame(frame(to, sender, frame_bytes - (i == 0 ? less : 0)), i);
    sender.from_guest.push();
  }
};

}  // namespace

TEST_CASE("worker: behind a stream from guest to guest it expects more, for 5 ms") {
  Relaying host;
  CHECK_FALSE(host.worker.expects_work(rte_rdtsc()));
  host.put(host.receiver.settings.mac);
  const uint64_t before = rte_rdtsc();
  CHECK(host.worker.turn());
  const uint64_t after = rte_rdtsc();
  CHECK(host.delivered(host.receiver).size() == stream_frames);
  CHECK(host.worker.expects_work(before + 5 * ms()));
  CHECK_FALSE(host.worker.expects_work(after + 5 * ms()));
  CHECK_FALSE(host.worker.turn());
  CHECK(host.worker.expects_work(before + 5 * ms()));  // a turn without work takes nothing away
}

TEST_CASE("worker: the 5 ms begin when the stream's frames have arrived") {
  Relaying host;
  xen().during_copy = [] { rte_delay_us_block(2000); };
  host.put(host.receiver.settings.mac);
  const uint64_t before = rte_rdtsc();
  host.worker.turn();
  xen().during_copy = nullptr;
  CHECK(host.worker.expects_work(before + 6 * ms()));
}

TEST_CASE("worker: what is less than a stream, or not from guest to guest, is not waited for") {
  Relaying host;
  const rte_ether_addr receiver = host.receiver.settings.mac;
  SECTION("a byte less") {
    host.put(receiver, 1);
  }
  SECTION("to the port") {
    host.put(elsewhere);
  }
  SECTION("to all") {
    host.put(broadcast);
  }
  SECTION("to the port, seen by a guest that sees everything") {
    host.add_guest(0, false).post_buffers(60);
    host.turn();
    host.put(elsewhere);
  }
  SECTION("from the port") {
    for (int i = 0; i < stream_frames; ++i)
      host.ports[0]->feed(make_mbuf(*host.pool, make_frame(receiver, elsewhere, frame_bytes)));
  }
  CHECK(host.worker.turn());
  CHECK_FALSE(host.worker.expects_work(rte_rdtsc()));
}

TEST_CASE("worker: of a stream to another worker's guest both expect more") {
  Crew crew({{.worker = 0}, {.worker = 1}});
  for (int i = 0; i < stream_frames; ++i)
    crew.put(*crew.guests[0], crew.frame(crew.guests[1]->settings.mac, *crew.guests[0], 1000));
  for (const uint16_t worker : {0, 1}) {
    CHECK_FALSE(crew.workers[worker]->expects_work(rte_rdtsc()));
    const uint64_t before = rte_rdtsc();
    crew.turn(worker);
    CHECK(crew.workers[worker]->expects_work(before + 5 * ms()));
  }
}

TEST_CASE("worker: it does not sleep while it expects more of a stream") {
  Relaying host(0);
  host.put(host.receiver.settings.mac);
  const uint64_t started = rte_rdtsc();
  std::thread thread([&host] { host.worker.run(); });
  const auto sleeps = [&] { return host.worker.counters().read(WorkerCounter::worker_sleeps); };
  while (sleeps() == 0 && rte_rdtsc() - started < 10'000 * ms()) std::this_thread::yield();
  CHECK(rte_rdtsc() - started >= 5 * ms());
  CHECK(sleeps() > 0);
  host.post(Stop{});
  thread.join();
}
