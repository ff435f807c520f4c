// What a guest has set of hashing on its control ring (netif.h "Control messages"), checked, and
// the file of it that outlives this process: after a restart it holds, and no guest notices.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dataplane/hashing.hpp"

namespace netback {

class HashControl {
 public:
  // `file` empty: nothing is kept. Its directory exists.
  HashControl(uint32_t queue_count, std::string file)
      : queue_count_(queue_count), file_(std::move(file)) {}
  HashControl(const HashControl&) = delete;
  HashControl& operator=(const HashControl&) = delete;

  // What the last process had; with something in it that no guest could have set, nothing of it.
  void restore();
  // Begins with nothing set: what a file says is of a guest that was here before.
  void forget();

  // Each is the answer to a request: XEN_NETIF_CTRL_STATUS_*. Only of SUCCESS anything changes, and
  // then it is kept before the guest has its answer.
  uint32_t set_algorithm(uint32_t algorithm);
  uint32_t get_types(uint32_t& types) const;
  uint32_t set_types(uint32_t types);
  // Before what the request names is copied; then with it. Linux answers a key that is too long
  // INVALID_PARAMETER, where netif.h would have BUFFER_OVERFLOW, and so do we (H20).
  static uint32_t check_key(uint32_t bytes);
  void set_key(std::span<const uint8_t> key);
  uint32_t set_mapping_size(uint32_t entries);
  uint32_t check_mapping(uint32_t offset, uint32_t entries) const;
  uint32_t set_mapping(uint32_t offset, std::span<const uint32_t> queues);

  // What workers compute by; null: nothing.
  std::shared_ptr<const Hashing> hashing() const;
  const HashSettings& settings() const { return settings_; }

 private:
  bool are_queues(std::span<const uint32_t> queues) const;
  bool is_possible(const HashSettings& settings) const;
  void save() const;

  const uint32_t queue_count_;
  const std::string file_;
  HashSettings settings_;
};

}  // namespace netback
