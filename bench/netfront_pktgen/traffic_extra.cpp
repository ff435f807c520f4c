// What goes by extra info: multicast groups, hashes.
#include "bench/netfront_pktgen/toeplitz.hpp"
#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

// In order, and answered when it returns.
void Traffic::ask_for_groups(uint8_t type) {
  if (groups_.empty()) return;
  for (const auto& group : groups_)
    while (!queue_.put_group(type, group) && !frontend_.backend_closes()) {
      queue_.push_from_guest();
      wait_for_answers();
    }
  queue_.push_from_guest();
  wait_for_answers();
}

// As fast as they are answered; in the end it is in them. Each is one of what it sent.
void Traffic::churn() {
  while (!over(sent_)) {
    ask_for_groups(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
    ask_for_groups(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
    sent_ += 2 * groups_.size();
  }
}

void Traffic::check_hash(const FrontQueue::Received& received) {
  const uint8_t* bytes = queue_.bytes_of(received);
  const HashInfo expected = expected_hash(options_.hash_types, options_.hash_key,
                                          {bytes, static_cast<size_t>(received.bytes)});
  const HashInfo& found = received.hash;
  hashed_ += found.algorithm != XEN_NETIF_CTRL_HASH_ALGORITHM_NONE;
  bad_hashes_ += found.type != expected.type || found.algorithm != expected.algorithm ||
                 found.value != expected.value;
}

}  // namespace netback
