// How fast a vif may go in one direction: one budget, whatever queues it has and whichever workers
// they are on.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

#include "dataplane/limits.hpp"

namespace netback {

// As xl has it: so many bytes in each interval.
struct RateLimit {
  uint64_t bytes = 0;  // 0: unlimited
  uint32_t interval_us = 0;
  bool limited() const { return bytes > 0; }
  bool operator==(const RateLimit&) const = default;
};

// Credit comes in as time goes by, up to what an interval has, 2 ms at least. While there is any, a
// frame may pass, however long it is; what it is longer is paid before the next one passes: so a
// frame of 64 KiB passes any limit, and the rate holds all the same. Any thread may call anything.
class alignas(64) RateBudget {
 public:
  // Of a TSC of `tsc_hz`. All credit is there, and what was to be paid is forgotten.
  void set(const RateLimit& limit, uint64_t tsc_hz) {
    const double interval = double(limit.interval_us) * double(tsc_hz) / 1e6;
    const double least = double(limits::rate_burst_us_min) * double(tsc_hz) / 1e6;
    cycles_per_byte_.store(interval / double(limit.bytes), std::memory_order_relaxed);
    depth_.store(static_cast<int64_t>(std::max(interval, least)), std::memory_order_relaxed);
    paid_until_.store(std::numeric_limits<int64_t>::min(), std::memory_order_relaxed);
  }

  // What passed is paid for by then: a frame may pass after it. TSC, as all times here.
  int64_t paid_until() const { return paid_until_.load(std::memory_order_relaxed); }
  // Bytes of credit; not more than 0: none.
  double credit(int64_t now) const {
    return double(now - since(paid_until(), now)) /
           cycles_per_byte_.load(std::memory_order_relaxed);
  }
  void spend(uint64_t bytes, int64_t now) {
    int64_t paid = paid_until();
    while (!paid_until_.compare_exchange_weak(paid, since(paid, now) + cost(bytes),
                                              std::memory_order_relaxed)) {
    }
  }
  // Spends if a frame may pass.
  bool take(uint64_t bytes, int64_t now) {
    int64_t paid = paid_until();
    do {
      if (paid >= now) return false;
    } while (!paid_until_.compare_exchange_weak(paid, since(paid, now) + cost(bytes),
                                                std::memory_order_relaxed));
    return true;
  }

 private:
  // Time is credit: from here on it is not spent.
  int64_t since(int64_t paid, int64_t now) const {
    return std::max(paid, now - depth_.load(std::memory_order_relaxed));
  }
  int64_t cost(uint64_t bytes) const {
    return static_cast<int64_t>(
        std::ceil(double(bytes) * cycles_per_byte_.load(std::memory_order_relaxed)));
  }

  // Control writes, workers read.
  std::atomic<double> cycles_per_byte_ = 0;
  std::atomic<int64_t> depth_ = 0;
  // All write.
  std::atomic<int64_t> paid_until_ = std::numeric_limits<int64_t>::min();
};

}  // namespace netback
