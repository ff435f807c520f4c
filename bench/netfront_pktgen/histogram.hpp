// A histogram of times: each octave in 32 equal parts, so that a bucket is at most 3 % wide.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>

namespace netback {

class Histogram {
 public:
  void add(uint64_t ns) {
    ++counts_[bucket_of(ns)];
    ++total_;
  }
  uint64_t total() const { return total_; }
  // The middle of the bucket that `part` of all times do not exceed; 0 of none.
  double percentile(double part) const;
  // [{"from_ns", "below_ns", "count"}] of the buckets that are not empty.
  nlohmann::json buckets() const;

 private:
  static constexpr uint32_t part_bits = 5, parts = 1U << part_bits;
  static constexpr uint32_t octaves = 40 - part_bits;  // up to 2^40 ns, 18 minutes

  static uint32_t bucket_of(uint64_t ns);
  static uint64_t lower_bound(uint32_t bucket);

  std::array<uint64_t, (octaves + 1) * parts> counts_{};
  uint64_t total_ = 0;
};

}  // namespace netback
