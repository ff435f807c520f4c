// A queue pair of a DPDK port. Control's Port makes it and lends it to a worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "dataplane/counters.hpp"
#include "dataplane/frame.hpp"

namespace netback {

// What the driver does by itself and can be trusted with (platform: port drivers that lie).
struct PortCapabilities {
  bool checksum = false;                        // fills in TCP and UDP checksums, IPv4 and IPv6
  bool chains = false;                          // sends frames of several mbufs
  bool segments = false;                        // cuts TCP frames, IPv4 and IPv6 (TSO)
  bool ipv4_checksum = false;                   // fills in IPv4's own checksum while it does
  uint32_t segmented_buffers_max = UINT16_MAX;  // mbufs of a frame that it is to cut
  bool receives = true;             // false: it never hands out a frame, so no need to look
  bool large_buffers = false;       // it receives into them
  uint32_t held_buffers_max = 0;    // each burst wakes a thread of somebody else's: so many mbufs
                                    // of a stream may wait for each other. 0: it wakes nobody
  uint32_t frame_bytes_max = 1514;  // untagged; a VLAN tag may add 4
};

struct PortQueue {
  // Constant while attached.
  uint16_t port = 0;  // its number in the ForwardTable, and in mbuf->port from accept on
  uint16_t queue = 0;
  uint16_t worker = 0;  // whose it is, below limits::workers_max
  // All pairs of the port by worker, itself among them. Empty: it is the only one, and other
  // workers reach it by crossing ring.
  std::vector<PortQueue*> by_worker = {};

  // Control changes them while the port does not run and its worker knows of that (Fence).
  uint16_t device = port;  // DPDK's number of what is below: a device that comes back has another
  PortCapabilities can = {};
  int receive_fd = -1;  // readable when frames wait and the receive interrupt is armed; -1: none

  // Control sets it last on open and clears it first on close (seed S12), or when the device has
  // gone. Looked at before each use of it.
  std::atomic<bool> running = false;

  // The worker's while attached.
  FrameBatchOf<limits::outgoing_frames_max> outgoing = {};
  uint32_t held_frames = 0;  // of outgoing: that the last turn left there
  uint32_t held_turns = 0;   // turns that added to them
  uint64_t held_until = 0;   // TSC

  // The worker writes, anyone reads.
  PortCounters counters = {};

  // The pair that a worker has to use: its own if the port has one for each.
  PortQueue& pair_of(uint16_t asking) { return by_worker.empty() ? *this : *by_worker[asking]; }
};

}  // namespace netback
