// The stages of one direction with what a worker would give them. At the end the pool is whole.
#pragma once

#include <catch2/catch.hpp>

#include "dataplane/from_guest/collect.hpp"
#include "dataplane/from_guest/decode.hpp"
#include "dataplane/from_guest/fetch.hpp"
#include "dataplane/from_guest/inspect.hpp"
#include "dataplane/from_guest/limit.hpp"
#include "dataplane/from_guest/respond.hpp"
#include "dataplane/to_guest/copy.hpp"
#include "dataplane/to_guest/respond.hpp"
#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

// What every test needs first and checks last.
struct Bench {
  std::unique_ptr<FramePool> pool;
  std::unique_ptr<Grants> grants = Grants::open().value();
  std::unique_ptr<EventChannels> events = EventChannels::open().value();
  WorkerCounters counters;

  explicit Bench(uint32_t large_buffers = 0) : pool(make_pool(1300, large_buffers)) {
    FakeXen::instance().reset();
  }
  ~Bench() {
    give_buffers_back();
    CHECK(pool->free_buffers() == pool->buffers());
    CHECK(pool->free_large_buffers() == pool->large_buffers());
  }
  // Takes all but `count` of the pool's free buffers away, as others in a busy host would.
  void leave_buffers(uint32_t count) {
    while (pool->free_buffers() > count) held_.push_back(rte_pktmbuf_alloc(pool->mempool()));
  }
  void leave_large_buffers(uint32_t count) {
    while (pool->free_large_buffers() > count)
      held_.push_back(rte_pktmbuf_alloc(pool->large_mempool()));
  }
  void give_buffers_back() {
    for (rte_mbuf* buffer : held_) rte_pktmbuf_free(buffer);
    held_.clear();
  }
  uint64_t count(WorkerCounter counter) const { return counters.read(counter); }

 private:
  std::vector<rte_mbuf*> held_;
};

struct FromGuestStages : Bench {
  QueueSet queues;
  uint64_t now = 0;  // TSC of the next turn
  FromGuestBatch batch;
  FrameBatch frames;
  std::vector<GuestQueue*> holding;

  explicit FromGuestStages(uint32_t large_buffers = 0) : Bench(large_buffers) {}
  ~FromGuestStages() { take_frames(); }

  void decode() {
    from_guest::collect(queues, batch, now, 0);
    from_guest::decode(batch);
  }
  bool fetch() {
    decode();
    from_guest::limit(batch);
    return from_guest::fetch(batch, *pool, *grants, counters);
  }
  bool inspect() {
    const bool enough = fetch();
    from_guest::inspect(batch, frames);
    return enough;
  }
  bool run() {
    const bool enough = inspect();
    from_guest::respond(batch, holding, *events);
    return enough;
  }
  // A turn without requests, in which held answers are published.
  void settle() {
    run();
    run();
  }
  // The bytes of what came through, freed.
  std::vector<Bytes> take_frames() {
    std::vector<Bytes> all;
    for (uint32_t i = 0; i < frames.count; ++i) {
      all.push_back(bytes_of(frames.mbufs[i]));
      rte_pktmbuf_free(frames.mbufs[i]);
    }
    frames.count = 0;
    return all;
  }
};

// One guest whose slots go through the from_guest stages.
struct OneGuest : FromGuestStages {
  TestGuest guest;

  explicit OneGuest(uint32_t start = 0) : guest(0, 7, start) { queues.add(*guest.queue); }
  // All that the guest has put goes through; then whatever was held is published.
  void send() {
    guest.from_guest.push();
    settle();
  }
  void decode_pushed() {
    guest.from_guest.push();
    decode();
  }
  std::vector<int> statuses() {
    std::vector<int> all;
    for (const auto& answer : guest.answers()) all.push_back(answer.status);
    return all;
  }
};

struct ToGuestStages : Bench {
  TestGuest guest{0};
  std::vector<std::unique_ptr<TestGuest>> others;
  ToGuestBatch batch;
  Backlogged backlogged;

  explicit ToGuestStages(uint32_t large_buffers = 0) : Bench(large_buffers) {}
  ~ToGuestStages() {
    backlogged.each([](GuestQueue& queue) { queue.backlog.clear(rte_pktmbuf_free); });
  }

  TestGuest& add_guest() {
    const auto vif = static_cast<uint16_t>(others.size() + 1);
    others.push_back(std::make_unique<TestGuest>(vif, static_cast<uint16_t>(7 + vif)));
    return *others.back();
  }
  rte_mbuf* queue_frame(const Bytes& bytes, TestGuest& to, uint32_t piece = 0) {
    return queue_mbuf(make_mbuf(*pool, bytes, piece), to);
  }
  rte_mbuf* queue_mbuf(rte_mbuf* frame, TestGuest& to) {
    to.queue->backlog.push(frame);
    if (!to.queue->in_backlogged) backlogged.add(*to.queue);
    return frame;
  }
  rte_mbuf* queue_frame(const Bytes& bytes, uint32_t piece = 0) {
    return queue_frame(bytes, guest, piece);
  }
  void copy() { to_guest::copy(backlogged, batch, *grants, counters); }
  void run(uint64_t now = 1) {
    copy();
    to_guest::respond(batch, backlogged, *events, now);
  }
};

// A frame of a pattern between addresses that matter to no one.
inline Bytes plain_frame(size_t bytes, uint8_t seed = 1) {
  return make_frame({{2, 0, 0, 0, 1, 1}}, {{2, 0, 0, 0, 1, 2}}, bytes, seed);
}

}  // namespace netback::test
