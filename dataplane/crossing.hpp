// Frames on their way from one worker to another: a bounded ring for each ordered pair. What
// crosses says where it goes by numbers that the receiver looks up in its own table, so that nobody
// comes by a queue that control has taken away meanwhile.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/limits.hpp"
#include "dataplane/messages.hpp"
#include "lib/base/result.hpp"

namespace netback {

struct Crossing {
  // The sender decided it: a vif, the port that the frame's source is on, all vifs there, or those
  // that see everything.
  enum class To : uint16_t { vif, port, all, unfiltered };
  static constexpr uint16_t no_vif = UINT16_MAX;

  rte_mbuf* frame;
  uint32_t table;         // ForwardTable::serial() of the sender's
  uint16_t vif = no_vif;  // To::vif: which. To::unfiltered: who has it already, or no_vif
  // To::all and unfiltered: on this VLAN of the port; 0: on the port itself.
  uint16_t vlan : 12 = 0;
  To to : 4;
};
static_assert(sizeof(Crossing) == 16, "what the rings are made for");

// One worker's end of the rings to and from all others.
class CrossingEnd {
 public:
  CrossingEnd(const CrossingEnd&) = delete;
  CrossingEnd& operator=(const CrossingEnd&) = delete;

  uint16_t worker() const { return worker_; }  // whose it is

  // Keeps a frame for send(). `to` is another worker, and is not full().
  void put(uint16_t to, const Crossing& crossing) {
    Peer& peer = peers_[to];
    peer.kept[peer.kept_count++] = crossing;
  }
  bool full(uint16_t to) const { return peers_[to].kept_count == peers_[to].kept.size(); }
  bool keeps(uint16_t to) const { return peers_[to].kept_count > 0; }
  uint16_t workers() const { return static_cast<uint16_t>(peers_.size()); }

  // What was put for a worker goes into its ring, and wakes it if it sleeps. The result is what
  // found no room: the caller's again, until the next put().
  std::span<const Crossing> send(uint16_t to);
  // What others have sent, at most limits::turn_crossings_max, until the next call. Whose ring is
  // looked at first changes with every call, so that none is always late.
  std::span<const Crossing> take();

  // Before a sleep: whoever sends from here on wakes this worker. It looks once more before it
  // sleeps: what was sent until now wakes nobody.
  void arm();
  void disarm();

 private:
  friend class Crossings;
  struct Peer {
    rte_ring* to = nullptr;
    rte_ring* from = nullptr;
    CrossingEnd* end = nullptr;
    uint32_t kept_count = 0;
    std::array<Crossing, limits::turn_slots_max> kept;
  };
  explicit CrossingEnd(uint16_t worker, Mailbox& mailbox) : worker_(worker), mailbox_(mailbox) {}

  const uint16_t worker_;
  Mailbox& mailbox_;
  std::vector<Peer> peers_;  // by worker; this one's own is empty
  uint16_t first_ = 0;       // whose ring take() looks at first
  std::array<Crossing, limits::turn_crossings_max> taken_;
  // This worker sets it; who sends clears it and wakes.
  alignas(RTE_CACHE_LINE_SIZE) std::atomic<bool> sleeps_ = false;
};

// All of them. What is still on its way when this goes is freed: no worker runs any more.
class Crossings {
 public:
  // For the workers with these mailboxes, at most limits::workers_max. Needs EAL.
  static Result<std::unique_ptr<Crossings>> make(std::span<Mailbox* const> workers);
  ~Crossings();
  Crossings(const Crossings&) = delete;
  Crossings& operator=(const Crossings&) = delete;

  CrossingEnd& end(size_t worker) { return *ends_[worker]; }

 private:
  Crossings() = default;
  Status connect(CrossingEnd& from, CrossingEnd& to);

  std::vector<std::unique_ptr<CrossingEnd>> ends_;
};

}  // namespace netback
