// Xenstore for unit tests, at the C ABI of libxenstore: the code under test is the product's,
// linked against this instead of the library. One store of this process and domain 0, for all
// handles.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

struct xs_handle;

namespace netback::test {

class FakeStore {
 public:
  using Nodes = std::map<std::string, std::string>;

  // The one that the C functions act on. reset() between tests.
  static FakeStore& instance();
  void reset();

  // --- what others do: a toolstack, a guest. Watches fire. ---
  std::optional<std::string> read(const std::string& path) const;
  void write(const std::string& path, const std::string& value);
  void remove(const std::string& path);  // with all below it
  // Domains that xenstored knows; one that goes makes an event of @releaseDomain.
  void introduce(uint32_t domain) { introduced.insert(domain); }
  void release(uint32_t domain);

  Nodes nodes;  // by full path; a node without a value has an empty one
  std::set<uint32_t> introduced;

  // --- what went on ---
  // What each write or transaction of the code under test changed at once.
  std::vector<Nodes> commits;
  uint32_t transactions = 0;  // begun
  uint64_t reads = 0;
  uint32_t open_handles = 0;

  // --- faults ---
  // Runs once, just before the next transaction ends: a writer that comes between.
  std::function<void()> before_end;
  // So many ends of transactions find that somebody came between.
  uint32_t conflicts = 0;
  bool open_fails = false;

  // The C functions' own.
  struct Transaction {
    Nodes nodes;  // as they were, and what it wrote
    Nodes written;
    std::set<std::string> removed;
    uint64_t generation;
  };
  void set(const std::string& path, const std::string& value);
  void erase(const std::string& path);
  void fire(const std::string& path);
  std::map<uint32_t, Transaction> open_transactions;
  std::set<xs_handle*> handles;
  uint64_t generation = 0;

 private:
  FakeStore() = default;
};

}  // namespace netback::test
