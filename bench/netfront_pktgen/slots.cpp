#include "bench/netfront_pktgen/slots.hpp"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/xen/number.hpp"

namespace netback {
namespace {

using namespace std::chrono_literals;

constexpr size_t numbers_max = 4;

class Putting {
 public:
  explicit Putting(Frontend& frontend) : frontend_(frontend), queue_(*frontend.queues()[0]) {}

  void put(const SlotWord& word) {
    const auto number = [&](size_t i) { return i < word.numbers.size() ? word.numbers[i] : 0; };
    switch (word.kind) {
      case SlotWord::Kind::request:
        ring().put({.gref = word.numbers.size() < numbers_max
                                ? queue_.from_guest_references()[put_ % netif::ring_slots]
                                : number(3),
                    .offset = static_cast<uint16_t>(number(2)),
                    .flags = static_cast<uint16_t>(number(1)),
                    .id = static_cast<uint16_t>(put_),
                    .size = static_cast<uint16_t>(number(0))});
        ++put_;
        break;
      case SlotWord::Kind::extra: {
        netif::ExtraInfo extra{};
        extra.type = static_cast<uint8_t>(number(0));
        extra.flags = static_cast<uint8_t>(number(1));
        extra.u.gso.size = static_cast<uint16_t>(number(2));
        extra.u.gso.type = static_cast<uint8_t>(number(3));
        ring().put(extra);
        ++put_;
        break;
      }
      case SlotWord::Kind::claim:
        queue_.push_from_guest();
        ring().req_prod() += number(0);
        queue_.kick();
        claimed_ = true;
        break;
      case SlotWord::Kind::notify:
        for (uint32_t i = 0; i < number(0); ++i) queue_.kick();
        break;
      case SlotWord::Kind::wait:
        wait();
        break;
    }
  }

  // Until all is answered, the vif is served no longer, or for 2 s.
  void wait() {
    if (!claimed_) queue_.push_from_guest();
    const auto end = std::chrono::steady_clock::now() + 2s;
    for (bool served = true; served && std::chrono::steady_clock::now() < end;) {
      served = frontend_.served();  // before the answers: what came before the end is seen
      take_answers();
      if (answers_.size() >= put_ && !claimed_) break;
      std::this_thread::sleep_for(1ms);
    }
  }

  nlohmann::json result() {
    return {{"answers", answers_},
            {"served", frontend_.served()},
            {"faults", answers_.size() > put_ && !claimed_ ? 1 : 0}};
  }

 private:
  FromGuestFrontRing& ring() { return queue_.from_guest_ring(); }
  void take_answers() {
    while (const auto answer = ring().get()) answers_.push_back({answer->id, answer->status});
  }

  Frontend& frontend_;
  FrontQueue& queue_;
  uint32_t put_ = 0;
  bool claimed_ = false;
  std::vector<std::pair<int, int>> answers_;
};

}  // namespace

Result<std::vector<SlotWord>> read_slot_words(const std::vector<std::string>& words) {
  std::vector<SlotWord> read;
  for (const std::string& word : words) {
    SlotWord slot{SlotWord::Kind::request, {}};
    std::string_view left = word;
    if (word == "/") {
      read.push_back({SlotWord::Kind::wait, {}});
      continue;
    }
    const std::pair<char, SlotWord::Kind> kinds[] = {
        {'x', SlotWord::Kind::extra}, {'+', SlotWord::Kind::claim}, {'!', SlotWord::Kind::notify}};
    for (const auto& [letter, kind] : kinds) {
      if (word[0] != letter) continue;
      slot.kind = kind;
      left.remove_prefix(1);
    }
    while (true) {
      const auto number = parse_number<uint32_t>(left.substr(0, left.find(':')));
      if (!number || slot.numbers.size() == numbers_max)
        return Error{fmt::format("'{}' is no slot", word), "netfront-pktgen slots --help"};
      slot.numbers.push_back(*number);
      if (left.find(':') == left.npos) break;
      left.remove_prefix(left.find(':') + 1);
    }
    read.push_back(std::move(slot));
  }
  return read;
}

nlohmann::json put_slots(Frontend& frontend, const std::vector<SlotWord>& words) {
  Putting putting(frontend);
  for (const SlotWord& word : words) putting.put(word);
  putting.wait();
  return putting.result();
}

}  // namespace netback
