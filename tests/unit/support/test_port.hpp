// A DPDK port made of two rings for each of its queue pairs: what a test feeds arrives, what was
// sent can be read. With a small ring the port takes only part of a burst.
#pragma once

#include <rte_ring.h>

#include <memory>
#include <vector>

#include "dataplane/port/port_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

class TestPort {
 public:
  // `sent_max`: frames that the port takes before they are read; a power of two, less one.
  // Of several pairs each is the worker's of its number.
  explicit TestPort(FramePool& pool, uint32_t sent_max = 1023, uint16_t pairs = 1);
  ~TestPort();
  TestPort(const TestPort&) = delete;

  void feed(rte_mbuf* frame, uint16_t pair = 0);
  void feed(const Bytes& bytes, uint32_t piece = 0) { feed(make_mbuf(pool_, bytes, piece)); }
  // The next frame that was sent, for the caller to free; nullptr when there is none.
  rte_mbuf* sent(uint16_t pair = 0);
  // The bytes of all that were sent, freed.
  std::vector<Bytes> sent_bytes(uint16_t pair = 0);

  uint64_t count(PortCounter counter) const { return queue.counters.read(counter); }
  PortQueue queue;                                 // the first pair
  std::vector<std::unique_ptr<PortQueue>> others;  // pairs

 private:
  void begin(PortQueue& pair);

  FramePool& pool_;
  std::vector<rte_ring*> arriving_, sent_;  // by pair
};

}  // namespace netback::test
