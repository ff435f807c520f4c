#include "lib/xen/store.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>

namespace netback {
namespace {

// Another writer beats us a few times at most; a store that always conflicts is an error.
constexpr int attempts_max = 100;

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Owned = std::unique_ptr<T, Freed>;

std::optional<std::string> read_node(xs_handle* handle, xs_transaction_t transaction,
                                     const std::string& path) {
  unsigned bytes = 0;
  const Owned<void> value(xs_read(handle, transaction, path.c_str(), &bytes));
  if (value == nullptr) return std::nullopt;
  return std::string(static_cast<const char*>(value.get()), bytes);
}

Status write_node(xs_handle* handle, xs_transaction_t transaction, const std::string& path,
                  std::string_view value) {
  const auto bytes = static_cast<unsigned>(value.size());
  if (!xs_write(handle, transaction, path.c_str(), value.data(), bytes))
    return errno_error("cannot write xenstore " + path);
  return Done{};
}

Status remove_node(xs_handle* handle, xs_transaction_t transaction, const std::string& path) {
  if (!xs_rm(handle, transaction, path.c_str()) && errno != ENOENT)
    return errno_error("cannot remove xenstore " + path);
  return Done{};
}

}  // namespace

std::optional<std::string> StoreTransaction::read(const std::string& path) const {
  return read_node(handle_, id_, path);
}

Status StoreTransaction::write(const std::string& path, std::string_view value) {
  return write_node(handle_, id_, path, value);
}

Status StoreTransaction::remove(const std::string& path) {
  return remove_node(handle_, id_, path);
}

Result<std::unique_ptr<Store>> Store::open() {
  xs_handle* handle = xs_open(0);
  if (handle == nullptr)
    return errno_error("cannot reach xenstored", "run in a Xen domain, with xenstored started");
  return std::unique_ptr<Store>(new Store(handle));
}

Store::~Store() {
  xs_close(handle_);
}

std::optional<std::string> Store::read(const std::string& path) const {
  return read_node(handle_, XBT_NULL, path);
}

Status Store::write(const std::string& path, std::string_view value) {
  return write_node(handle_, XBT_NULL, path, value);
}

Status Store::mkdir(const std::string& path) {
  if (!xs_mkdir(handle_, XBT_NULL, path.c_str()))
    return errno_error("cannot make xenstore directory " + path);
  return Done{};
}

Status Store::remove(const std::string& path) {
  return remove_node(handle_, XBT_NULL, path);
}

std::vector<std::string> Store::directory(const std::string& path) const {
  unsigned count = 0;
  const Owned<char*> names(xs_directory(handle_, XBT_NULL, path.c_str(), &count));
  if (names == nullptr) return {};
  return {names.get(), names.get() + count};
}

std::string Store::domain_path(uint32_t domain) const {
  const Owned<char> path(xs_get_domain_path(handle_, domain));
  return path == nullptr ? std::string() : std::string(path.get());
}

bool Store::is_introduced(uint32_t domain) const {
  return xs_is_domain_introduced(handle_, domain);
}

Status Store::transact(const std::function<Status(StoreTransaction&)>& body) {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    const xs_transaction_t id = xs_transaction_start(handle_);
    if (id == XBT_NULL) return errno_error("cannot start a xenstore transaction");
    StoreTransaction transaction(handle_, id);
    Status status = body(transaction);
    if (!status) {
      xs_transaction_end(handle_, id, true);
      return status;
    }
    if (xs_transaction_end(handle_, id, false)) return Done{};
    if (errno != EAGAIN) return errno_error("cannot end a xenstore transaction");
  }
  return Error{"xenstore transaction: another writer came between each time"};
}

Status Store::watch(const std::string& path, const std::string& token) {
  if (!xs_watch(handle_, path.c_str(), token.c_str()))
    return errno_error("cannot watch xenstore " + path,
                       errno == E2BIG || errno == ENOSPC
                           ? "raise xenstored's quota of watches for this domain"
                           : "");
  return Done{};
}

void Store::unwatch(const std::string& path, const std::string& token) {
  xs_unwatch(handle_, path.c_str(), token.c_str());  // fails when the watch is gone already
}

Status Store::drain_watches(const SeenWatch& seen) {
  for (;;) {
    errno = 0;
    const Owned<char*> event(xs_check_watch(handle_));
    if (event == nullptr) {
      if (errno == EAGAIN || errno == 0) return Done{};
      return errno_error("xenstored is gone");
    }
    seen(event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]);
  }
}

}  // namespace netback
