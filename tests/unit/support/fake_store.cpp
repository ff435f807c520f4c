#include "tests/unit/support/fake_store.hpp"

#include <sys/eventfd.h>
#include <unistd.h>
#include "lib/xen/c_api.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

using netback::test::FakeStore;

struct xs_handle {
  int fd;
  std::set<std::pair<std::string, std::string>> watches;  // path, token
  std::deque<std::pair<std::string, std::string>> events;

  void tell(const std::string& path, const std::string& token) {
    events.emplace_back(path, token);
    eventfd_write(fd, 1);
  }
};

namespace {

FakeStore& store() {
  return FakeStore::instance();
}

bool is_below(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

// Relative paths are below the own domain's directory.
std::string full(const std::string& path) {
  return path.starts_with('/') || path.starts_with('@') ? path : "/local/domain/0/" + path;
}

FakeStore::Nodes& nodes_of(xs_transaction_t id) {
  return id == XBT_NULL ? store().nodes : store().open_transactions.at(id).nodes;
}

// Strings in one piece of memory, for the caller to free; behind pointers to them if told.
char** block_of(const std::vector<std::string>& texts) {
  size_t bytes = texts.size() * sizeof(char*);
  for (const auto& text : texts) bytes += text.size() + 1;
  char** block = static_cast<char**>(std::malloc(bytes + 1));
  char* at = reinterpret_cast<char*>(block + texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    block[i] = at;
    std::memcpy(at, texts[i].c_str(), texts[i].size() + 1);
    at += texts[i].size() + 1;
  }
  return block;
}

bool fails(int why) {
  errno = why;
  return false;
}

}  // namespace

namespace netback::test {

FakeStore& FakeStore::instance() {
  static FakeStore store;
  return store;
}

void FakeStore::reset() {
  nodes = {{"/local/domain/0/domid", "0"}};
  introduced = {0};
  commits.clear();
  open_transactions.clear();
  before_end = nullptr;
  transactions = conflicts = 0;
  reads = 0;
  open_fails = false;
}

std::optional<std::string> FakeStore::read(const std::string& path) const {
  const auto found = nodes.find(full(path));
  if (found == nodes.end()) return std::nullopt;
  return found->second;
}

void FakeStore::write(const std::string& path, const std::string& value) {
  set(full(path), value);
  fire(full(path));
}

void FakeStore::remove(const std::string& path) {
  std::vector<std::string> gone;
  for (const auto& [node, value] : nodes)
    if (is_below(node, full(path))) gone.push_back(node);
  erase(full(path));
  for (const auto& node : gone) fire(node);
}

void FakeStore::release(uint32_t domain) {
  introduced.erase(domain);
  fire("@releaseDomain");
}

void FakeStore::set(const std::string& path, const std::string& value) {
  ++generation;
  nodes[path] = value;
}

void FakeStore::erase(const std::string& path) {
  ++generation;
  std::erase_if(nodes, [&](const auto& node) { return is_below(node.first, path); });
}

void FakeStore::fire(const std::string& path) {
  for (xs_handle* handle : handles)
    for (const auto& [watched, token] : handle->watches)
      if (is_below(path, full(watched))) handle->tell(path, token);
}

}  // namespace netback::test

extern "C" {

xs_handle* xs_open(unsigned long) {
  if (store().open_fails) {
    errno = ENOENT;
    return nullptr;
  }
  auto* handle =
      new xs_handle{.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .watches = {}, .events = {}};
  store().handles.insert(handle);
  ++store().open_handles;
  return handle;
}

void xs_close(xs_handle* handle) {
  --store().open_handles;
  store().handles.erase(handle);
  close(handle->fd);
  delete handle;
}

int xs_fileno(xs_handle* handle) {
  return handle->fd;
}

void* xs_read(xs_handle*, xs_transaction_t id, const char* path, unsigned* bytes) {
  ++store().reads;
  const auto& nodes = nodes_of(id);
  const auto found = nodes.find(full(path));
  if (found == nodes.end()) {
    errno = ENOENT;
    return nullptr;
  }
  *bytes = static_cast<unsigned>(found->second.size());
  char* value = static_cast<char*>(std::malloc(found->second.size() + 1));
  std::memcpy(value, found->second.c_str(), found->second.size() + 1);
  return value;
}

bool xs_write(xs_handle*, xs_transaction_t id, const char* path, const void* data, unsigned bytes) {
  const std::string value(static_cast<const char*>(data), bytes);
  if (id != XBT_NULL) {
    auto& transaction = store().open_transactions.at(id);
    transaction.nodes[full(path)] = transaction.written[full(path)] = value;
    return true;
  }
  store().commits.push_back({{full(path), value}});
  store().write(path, value);
  return true;
}

bool xs_mkdir(xs_handle* handle, xs_transaction_t id, const char* path) {
  return nodes_of(id).contains(full(path)) || xs_write(handle, id, path, "", 0);
}

bool xs_rm(xs_handle*, xs_transaction_t id, const char* path) {
  if (!nodes_of(id).contains(full(path))) return fails(ENOENT);
  if (id == XBT_NULL) {
    store().remove(path);
    return true;
  }
  auto& transaction = store().open_transactions.at(id);
  std::erase_if(transaction.nodes,
                [&](const auto& node) { return is_below(node.first, full(path)); });
  transaction.removed.insert(full(path));
  return true;
}

char** xs_directory(xs_handle*, xs_transaction_t id, const char* path, unsigned* count) {
  const std::string directory = full(path) + "/";
  std::set<std::string> names;
  for (const auto& [node, value] : nodes_of(id))
    if (node.starts_with(directory))
      names.insert(
          node.substr(directory.size(), node.find('/', directory.size()) - directory.size()));
  *count = static_cast<unsigned>(names.size());
  return block_of({names.begin(), names.end()});
}

xs_transaction_t xs_transaction_start(xs_handle*) {
  const uint32_t id = ++store().transactions;
  store().open_transactions[id] = {store().nodes, {}, {}, store().generation};
  return id;
}

bool xs_transaction_end(xs_handle*, xs_transaction_t id, bool abort) {
  if (!abort && store().before_end) std::exchange(store().before_end, nullptr)();
  const auto transaction = store().open_transactions.at(id);
  store().open_transactions.erase(id);
  if (abort) return true;
  if (store().conflicts > 0) {
    --store().conflicts;
    return fails(EAGAIN);
  }
  if (transaction.generation != store().generation) return fails(EAGAIN);
  for (const auto& path : transaction.removed) store().remove(path);
  for (const auto& [path, value] : transaction.written) store().set(path, value);
  if (!transaction.written.empty()) store().commits.push_back(transaction.written);
  for (const auto& [path, value] : transaction.written) store().fire(path);
  return true;
}

bool xs_watch(xs_handle* handle, const char* path, const char* token) {
  if (!handle->watches.emplace(path, token).second) return fails(EEXIST);
  handle->tell(path, token);
  return true;
}

bool xs_unwatch(xs_handle* handle, const char* path, const char* token) {
  return handle->watches.erase({path, token}) == 1 || fails(ENOENT);
}

char** xs_check_watch(xs_handle* handle) {
  if (handle->events.empty()) {
    eventfd_t count;
    eventfd_read(handle->fd, &count);
    errno = EAGAIN;
    return nullptr;
  }
  const auto [path, token] = handle->events.front();
  handle->events.pop_front();
  return block_of({path, token});
}

bool xs_is_domain_introduced(xs_handle*, unsigned domain) {
  return store().introduced.contains(domain);
}

char* xs_get_domain_path(xs_handle*, unsigned domain) {
  return strdup(("/local/domain/" + std::to_string(domain)).c_str());
}

}  // extern "C"
