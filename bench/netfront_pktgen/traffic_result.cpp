// What the traffic found, as JSON.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

nlohmann::json Traffic::result() const {
  const double seconds = now() - started_;
  const uint64_t unanswered = queue_.under_way();
  const uint64_t faults = queue_.errors() + queue_.bad_answers() + bad_status_ + changed_ +
                          repeated_ + reordered_ + bad_hashes_ +
                          (frontend_.backend_closes() ? 0 : unanswered);
  nlohmann::json result{{"seconds", seconds},
                        {"sent", sent_},
                        {"answered", answered_},
                        {"errors", queue_.errors()},
                        {"unanswered", unanswered},
                        {"bad_answers", queue_.bad_answers()},
                        {"bursts", bursts_},
                        {"cut_bursts", cut_bursts_},
                        {"received", received_},
                        {"received_bytes", received_bytes_},
                        {"received_multicast", received_multicast_},
                        {"bad_status", bad_status_},
                        {"headroom", headroom_},
                        {"with_headroom", with_headroom_},
                        {"faults", faults},
                        {"backend_closed", frontend_.backend_closes()},
                        {"sent_per_s", double(sent_) / seconds},
                        {"received_per_s", double(received_) / seconds}};
  if (part_.number == 0) result["staged_pages"] = frontend_.staged_pages();  // of all queues
  if (steady_since_ != 0) {
    result["steady_answered"] = answered_ - answered_cold_;
    result["steady_seconds"] = now() - steady_since_;
  }
  if (options_.numbered) {
    result["changed"] = changed_;
    result["repeated"] = repeated_;
    result["reordered"] = reordered_;
    if (part_.number == 0) result["missing"] = part_.numbers->missing();  // of all queues
  }
  if (options_.tcp) {
    result["changed"] = changed_;
    result["longest"] = longest_;
    result["segmented"] = segmented_;
    result["stream_bytes"] = stream_.checked_bytes();
    result["missing_bytes"] = stream_.missing_bytes();
  }
  if (options_.hash_types != 0) {
    result["hashed"] = hashed_;
    result["bad_hashes"] = bad_hashes_;
  }
  if (options_.verb == Verb::tap) result["tap_refused"] = tap_refused_;
  if (options_.verb == Verb::ping) {
    result["round_trips"] = round_trips_.total();
    for (const double part : {0.5, 0.9, 0.99})
      result["round_trip_us"][fmt::format("p{:.0f}", part * 100)] =
          round_trips_.percentile(part) / 1000;
    result["round_trip_histogram"] = round_trips_.buckets();
  }
  return result;
}

}  // namespace netback
