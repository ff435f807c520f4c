// A guest that puts whatever slots it is told to.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netfront/frontend.hpp"

namespace netback {

// A slot, in numbers that may be anything:
//   SIZE[:FLAGS[:OFFSET[:REFERENCE]]]       a request; of a page of its own without REFERENCE
//   xTYPE[:FLAGS[:GSO_BYTES[:GSO_TYPE]]]    extra info
//   +COUNT                                  none: the index claims so many more than were put
//   !COUNT                                  none: notifies so often
//   /                                       what is before it is answered first
struct SlotWord {
  enum class Kind { request, extra, claim, notify, wait } kind;
  std::vector<uint32_t> numbers;
};
Result<std::vector<SlotWord>> read_slot_words(const std::vector<std::string>& words);

// Puts them all on the first queue, and waits until they are answered, or the backend serves the
// vif no longer, or 2 s. "answers": [id, status] of each answer in the order in which they came;
// the nth request has the id n, from 0 on, and extra info has an id, too. "served": the backend
// still does. "faults": more answers than slots.
nlohmann::json put_slots(Frontend& frontend, const std::vector<SlotWord>& words);

}  // namespace netback
