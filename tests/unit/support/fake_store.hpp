// Xenstore for unit tests, at the C ABI of libxenstore: a tree in this process, with transactions
// that conflict as xenstored's do, watches, and faults on demand.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace netback::test {

class FakeStore {
 public:
  using Nodes = std::map<std::string, std::string>;

  // The one that the C functions act on. reset() between tests.
  static FakeStore& instance();
  void reset() { *this = FakeStore(); }

  // As somebody else would: transactions that have looked there conflict, watches fire.
  void write(const std::string& path, const std::string& value);
  void remove(const std::string& path);  // with all below it
  std::optional<std::string> read(const std::string& path) const;

  Nodes nodes;
  std::set<std::pair<std::string, std::string>> watches;        // path, token
  std::deque<std::pair<std::string, std::string>> events = {};  // waiting: path, token

  // Faults, as errno; 0: none.
  int open_error = 0;
  int watch_error = 0;
  int start_error = 0;             // of transactions
  int end_error = 0;               // of transactions that would have been committed
  std::string forbidden = {};      // this path can be neither read nor changed: EACCES
  bool gone = false;               // xenstored ended
  std::function<void()> at_end{};  // runs before a transaction is committed: another writer

  // What happened.
  uint32_t open_handles = 0;
  uint32_t committed = 0, aborted = 0, conflicts = 0;

  struct Transaction {
    Nodes before, nodes;
    std::set<std::string> touched;
  };
  std::map<uint32_t, Transaction> transactions;  // open ones
  uint32_t next_transaction = 1;

 private:
  FakeStore() = default;
  void fire(const std::string& path);
};

}  // namespace netback::test
