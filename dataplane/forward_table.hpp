// Where a frame goes: destination addresses, flood lists and queues. Control makes one from what is
// connected, for all workers; nobody changes it; the next one replaces it.
#pragma once

#include <rte_ether.h>
#include <rte_hash.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "dataplane/guest_queue.hpp"
#include "dataplane/limits.hpp"
#include "dataplane/port/port_queue.hpp"
#include "dataplane/vlan.hpp"
#include "lib/base/result.hpp"

namespace netback {

class ForwardTable {
 public:
  struct Vif {
    GuestQueue* queue;  // the first; the others are its siblings
    uint16_t port;      // PortQueue::port of the port it is on
    rte_ether_addr mac;
    bool filtered = true;   // sees only frames for its address, broadcast and multicast
    uint16_t vlan = 0;      // 1 to vlan_max: it is on this VLAN of the port; 0: on the port itself
    bool isolated = false;  // it and the other vifs of the port do not reach each other
    uint32_t since = 0;     // serial of the first table with this connection of the vif
  };
  // Vifs that get a frame together, each by its first queue, those of each worker in a list.
  struct Crowd {
    bool unfiltered = false;  // which of the segment's crowds it is
    uint16_t vlan = 0;        // whose: of the port's VLAN; 0: of the port itself
    std::vector<std::vector<GuestQueue*>> by_worker = {};

    void add(GuestQueue* queue);
    bool empty() const { return by_worker.empty(); }
    std::span<GuestQueue* const> of(uint16_t worker) const {
      if (worker >= by_worker.size()) return {};
      return by_worker[worker];
    }
  };
  // Whom frames reach on one port, or on one of its VLANs: those that come from the port all of its
  // vifs; those of a vif the ones that are not isolated; those of an isolated one only itself.
  struct Segment {
    uint16_t number = 0;  // of the segment, in the table of addresses; of a port: the port's
    PortQueue* port = nullptr;
    Crowd vifs;                               // all that are reached
    Crowd unfiltered = {.unfiltered = true};  // those of them that see everything
    // Of a port: the segments of its VLANs that vifs are on, by VLAN. Empty: of none.
    std::vector<Segment*> vlans;
  };

  // `vifs` in the order in which they connected: of two with one address the newest gets its
  // frames (a guest migrating onto its own host). `serial` is higher with each table. Needs EAL.
  static Result<std::unique_ptr<ForwardTable>> make(const std::vector<PortQueue*>& ports,
                                                    const std::vector<Vif>& vifs,
                                                    uint32_t serial = 0);
  ~ForwardTable();
  ForwardTable(const ForwardTable&) = delete;
  ForwardTable& operator=(const ForwardTable&) = delete;

  // Whom a port's frames reach, and a vif's; nullptr when it, or the port that the vif is on, is
  // not attached.
  const Segment* segment(uint16_t port) const {
    return port < limits::ports_max && segments_[port].port != nullptr ? &segments_[port] : nullptr;
  }
  const Segment* segment_of_vif(uint16_t vif) const {
    return vif < by_vif_.size() ? by_vif_[vif].segment : nullptr;
  }
  // A vif's first queue, or nullptr.
  GuestQueue* queue_of_vif(uint16_t vif) const {
    return vif < by_vif_.size() ? by_vif_[vif].queue : nullptr;
  }
  // The same of a vif that was in the table of this number already; nullptr if it is another one
  // that has got its index since.
  GuestQueue* queue_of_vif(uint16_t vif, uint32_t table) const {
    GuestQueue* queue = queue_of_vif(vif);
    return queue != nullptr && by_vif_[vif].since <= table ? queue : nullptr;
  }
  uint32_t serial() const { return serial_; }
  // The queue that a frame of a vif's came by, or nullptr.
  GuestQueue* source(const rte_mbuf* frame) const {
    GuestQueue* first = queue_of_vif(source_vif(frame));
    const uint16_t number = source_queue(frame);
    return first == nullptr || number == 0 ? first : first->siblings[number];
  }

  // Owner of an address on a segment, by its first queue, or nullptr.
  GuestQueue* find(const Segment& segment, const rte_ether_addr& address) const;

 private:
  struct ByVif {
    GuestQueue* queue = nullptr;
    const Segment* segment = nullptr;  // whom its frames reach
    uint32_t since = 0;
  };
  ForwardTable() = default;
  Segment& new_segment(PortQueue* port, uint16_t vlan = 0);
  Segment& on_vlan(Segment& port, uint16_t vlan);
  Status add(Segment& segment, const Vif& vif);
  Result<const Segment*> place(const Vif& vif);

  rte_hash* addresses_ = nullptr;  // {address, segment} packed in 8 bytes -> GuestQueue*
  std::array<Segment, limits::ports_max> segments_;
  // By port: whom the vifs of it reach that are not isolated. Null: none is, and they reach all.
  std::array<Segment*, limits::ports_max> switched_{};
  std::deque<Segment> others_;  // numbered behind the ports'
  std::vector<ByVif> by_vif_;
  uint32_t serial_ = 0;
};

}  // namespace netback
