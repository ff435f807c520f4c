#include "bench/netfront_pktgen/histogram.hpp"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

namespace netback {

// Below 2 * parts a bucket is 1 ns; above, the leading bits after the first name the part.
uint32_t Histogram::bucket_of(uint64_t ns) {
  if (ns < parts) return static_cast<uint32_t>(ns);
  const auto octave = static_cast<uint32_t>(std::bit_width(ns)) - part_bits - 1;
  if (octave >= octaves) return static_cast<uint32_t>(octaves * parts + parts - 1);
  return octave * parts + static_cast<uint32_t>(ns >> octave);
}

uint64_t Histogram::lower_bound(uint32_t bucket) {
  if (bucket < parts) return bucket;
  const uint32_t octave = bucket / parts - 1;
  return uint64_t{bucket % parts + parts} << octave;
}

double Histogram::percentile(double part) const {
  const auto wanted = static_cast<uint64_t>(part * double(total_));
  uint64_t seen = 0;
  for (uint32_t bucket = 0; bucket < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (counts_[bucket] > 0 && seen > std::min(wanted, total_ - 1))
      return double(lower_bound(bucket) + lower_bound(bucket + 1)) / 2;
  }
  return 0;
}

nlohmann::json Histogram::buckets() const {
  nlohmann::json all = nlohmann::json::array();
  for (uint32_t bucket = 0; bucket < counts_.size(); ++bucket)
    if (counts_[bucket] > 0)
      all.push_back({{"from_ns", lower_bound(bucket)},
                     {"below_ns", lower_bound(bucket + 1)},
                     {"count", counts_[bucket]}});
  return all;
}

}  // namespace netback
