// The numbers of frames that have come to a vif, by whatever queue: each once, and those of one
// flow in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace netback {

class Numbers {
 public:
  static constexpr uint64_t end = uint64_t{1} << 26;  // what is remembered

  struct Verdict {
    bool repeated, reordered;
  };
  // `number` is below `end`; `flow`: the source port.
  Verdict note(uint64_t number, uint16_t flow) {
    seen_.resize(std::max<size_t>(seen_.size(), number + 1));
    uint64_t& next = next_[flow];
    const Verdict verdict{.repeated = seen_[number], .reordered = number < next};
    distinct_ += !seen_[number];
    seen_[number] = true;
    next = std::max(next, number + 1);
    return verdict;
  }
  // Numbers below the highest that have not come.
  uint64_t missing() const { return seen_.size() - distinct_; }
  size_t flows() const { return next_.size(); }

 private:
  std::vector<bool> seen_;
  std::map<uint16_t, uint64_t> next_;  // by flow: one more than the highest
  uint64_t distinct_ = 0;
};

}  // namespace netback
