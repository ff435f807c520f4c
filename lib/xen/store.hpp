// Xenstore through libxenstore. Control thread only; every call is a round trip to xenstored.
#pragma once

#include "lib/xen/c_api.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.hpp"

namespace netback {

class Store;

// One attempt of a transaction; what it reads is one moment, what it writes appears at once.
class StoreTransaction {
 public:
  // Nothing when the node is absent or may not be read.
  std::optional<std::string> read(const std::string& path) const;
  Status write(const std::string& path, std::string_view value);
  Status remove(const std::string& path);  // absent is fine

 private:
  friend class Store;
  StoreTransaction(xs_handle* handle, xs_transaction_t id) : handle_(handle), id_(id) {}
  xs_handle* handle_;
  xs_transaction_t id_;
};

class Store {
 public:
  // Fails with a fix when there is no xenstored to talk to.
  static Result<std::unique_ptr<Store>> open();
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Nothing when the node is absent or may not be read.
  std::optional<std::string> read(const std::string& path) const;
  Status write(const std::string& path, std::string_view value);
  Status mkdir(const std::string& path);
  Status remove(const std::string& path);  // with all below it; absent is fine
  // Names of the children; none when the node is absent.
  std::vector<std::string> directory(const std::string& path) const;
  // "/local/domain/N"; empty when xenstored does not say.
  std::string domain_path(uint32_t domain) const;
  // Whether xenstored has the domain: false once it is dead.
  bool is_introduced(uint32_t domain) const;

  // Runs `body` in a transaction; again, from the start, when another writer came between. Its
  // error ends the transaction with nothing written.
  Status transact(const std::function<Status(StoreTransaction&)>& body);

  // Every change at or below `path` makes an event with `token`; so does the call itself.
  Status watch(const std::string& path, const std::string& token);
  void unwatch(const std::string& path, const std::string& token);
  int fd() const { return xs_fileno(handle_); }  // readable while events wait

  // Takes every waiting event at once; `seen` must only note it, in bounded memory: libxenstore's
  // own queue has no bound and a guest can fill it (XSA-349). An error: xenstored is gone.
  using SeenWatch = std::function<void(std::string_view path, std::string_view token)>;
  Status drain_watches(const SeenWatch& seen);

 private:
  explicit Store(xs_handle* handle) : handle_(handle) {}
  xs_handle* handle_;
};

}  // namespace netback
