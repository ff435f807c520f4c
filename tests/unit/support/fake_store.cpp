#include "tests/unit/support/fake_store.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "lib/xen/c_api.hpp"

using netback::test::FakeStore;

struct xs_handle {};

namespace netback::test {
namespace {

bool is_below(const std::string& path, const std::string& root) {
  return path == root || path.starts_with(root + "/");
}

std::optional<std::string> find(const FakeStore::Nodes& nodes, const std::string& path) {
  const auto node = nodes.find(path);
  return node == nodes.end() ? std::nullopt : std::optional(node->second);
}

}  // namespace

FakeStore& FakeStore::instance() {
  static FakeStore store;
  return store;
}

void FakeStore::write(const std::string& path, const std::string& value) {
  nodes[path] = value;
  fire(path);
}

void FakeStore::remove(const std::string& path) {
  std::erase_if(nodes, [&](const auto& node) { return is_below(node.first, path); });
  fire(path);
}

std::optional<std::string> FakeStore::read(const std::string& path) const {
  return find(nodes, path);
}

void FakeStore::fire(const std::string& path) {
  for (const auto& [watched, token] : watches)
    if (is_below(path, watched)) events.emplace_back(path, token);
}

}  // namespace netback::test

namespace {

FakeStore& store() {
  return FakeStore::instance();
}

bool fail(int error) {
  errno = error;
  return false;
}

// As libxenstore hands out memory: one block, to be freed by the caller.
char* block_of(const std::string& bytes) {
  auto* block = static_cast<char*>(std::malloc(bytes.size() + 1));
  std::memcpy(block, bytes.c_str(), bytes.size() + 1);
  return block;
}
char** block_of(const std::vector<std::string>& strings) {
  size_t bytes = (strings.size() + 1) * sizeof(char*);
  for (const auto& string : strings) bytes += string.size() + 1;
  auto** block = static_cast<char**>(std::malloc(bytes));
  auto* at = reinterpret_cast<char*>(block + strings.size() + 1);
  for (size_t i = 0; i < strings.size(); ++i) {
    block[i] = at;
    at = std::copy_n(strings[i].c_str(), strings[i].size() + 1, at);
  }
  return block;
}

// The nodes that an operation sees; notes that a transaction has looked.
FakeStore::Nodes* nodes_of(uint32_t id, const std::string& path) {
  if (store().gone || path == store().forbidden) {
    errno = store().gone ? EIO : EACCES;
    return nullptr;
  }
  if (id == XBT_NULL) return &store().nodes;
  auto& transaction = store().transactions.at(id);
  transaction.touched.insert(path);
  return &transaction.nodes;
}

bool commit(const FakeStore::Transaction& transaction) {
  using netback::test::find;
  if (store().end_error != 0) return fail(store().end_error);
  for (const auto& path : transaction.touched) {
    if (find(transaction.before, path) == store().read(path)) continue;
    ++store().conflicts;
    return fail(EAGAIN);
  }
  for (const auto& path : transaction.touched) {
    const auto now = find(transaction.nodes, path);
    if (now == find(transaction.before, path)) continue;
    now ? store().write(path, *now) : store().remove(path);
  }
  ++store().committed;
  return true;
}

}  // namespace

extern "C" {

xs_handle* xs_open(unsigned long) {
  if (store().open_error != 0) {
    errno = store().open_error;
    return nullptr;
  }
  ++store().open_handles;
  return new xs_handle;
}

void xs_close(xs_handle* handle) {
  --store().open_handles;
  delete handle;
}

int xs_fileno(xs_handle*) {
  return -1;
}

void* xs_read(xs_handle*, xs_transaction_t id, const char* path, unsigned* bytes) {
  const auto* nodes = nodes_of(id, path);
  if (nodes == nullptr) return nullptr;
  const auto node = nodes->find(path);
  if (node == nodes->end()) {
    errno = ENOENT;
    return nullptr;
  }
  *bytes = static_cast<unsigned>(node->second.size());
  return block_of(node->second);
}

bool xs_write(xs_handle*, xs_transaction_t id, const char* path, const void* data, unsigned bytes) {
  const std::string value(static_cast<const char*>(data), bytes);
  auto* nodes = nodes_of(id, path);
  if (nodes == nullptr) return false;
  if (id == XBT_NULL)
    store().write(path, value);
  else
    (*nodes)[path] = value;
  return true;
}

bool xs_mkdir(xs_handle* handle, xs_transaction_t id, const char* path) {
  const auto* nodes = nodes_of(id, path);
  return nodes != nullptr && (nodes->contains(path) || xs_write(handle, id, path, "", 0));
}

bool xs_rm(xs_handle*, xs_transaction_t id, const char* path) {
  auto* nodes = nodes_of(id, path);
  if (nodes == nullptr) return false;
  if (!nodes->contains(path)) return fail(ENOENT);
  if (id == XBT_NULL)
    store().remove(path);
  else
    nodes->erase(path);
  return true;
}

char** xs_directory(xs_handle*, xs_transaction_t id, const char* path, unsigned* count) {
  const auto* nodes = nodes_of(id, path);
  if (nodes == nullptr) return nullptr;
  std::vector<std::string> names;
  const std::string root = std::string(path) + "/";
  for (const auto& [name, value] : *nodes) {
    if (!name.starts_with(root)) continue;
    const std::string child = name.substr(root.size(), name.find('/', root.size()) - root.size());
    if (names.empty() || names.back() != child) names.push_back(child);
  }
  if (names.empty() && !nodes->contains(path)) {
    errno = ENOENT;
    return nullptr;
  }
  *count = static_cast<unsigned>(names.size());
  return block_of(names);
}

char* xs_get_domain_path(xs_handle*, unsigned domain) {
  return store().gone ? nullptr : block_of("/local/domain/" + std::to_string(domain));
}

bool xs_is_domain_introduced(xs_handle*, unsigned domain) {
  return store().read("/local/domain/" + std::to_string(domain)).has_value();
}

xs_transaction_t xs_transaction_start(xs_handle*) {
  if (store().start_error != 0) {
    errno = store().start_error;
    return XBT_NULL;
  }
  const uint32_t id = store().next_transaction++;
  store().transactions[id] = {store().nodes, store().nodes, {}};
  return id;
}

bool xs_transaction_end(xs_handle*, xs_transaction_t id, bool abort) {
  const auto at = store().transactions.extract(id);
  if (at.empty()) return fail(ENOENT);
  if (abort) {
    ++store().aborted;
    return true;
  }
  if (store().at_end) store().at_end();
  return commit(at.mapped());
}

bool xs_watch(xs_handle*, const char* path, const char* token) {
  if (store().watch_error != 0) return fail(store().watch_error);
  if (!store().watches.emplace(path, token).second) return fail(EEXIST);
  store().events.emplace_back(path, token);
  return true;
}

bool xs_unwatch(xs_handle*, const char* path, const char* token) {
  return store().watches.erase({path, token}) == 1 || fail(ENOENT);
}

char** xs_check_watch(xs_handle*) {
  if (store().gone || store().events.empty()) {
    errno = store().gone ? EIO : EAGAIN;
    return nullptr;
  }
  const auto [path, token] = store().events.front();
  store().events.pop_front();
  return block_of(std::vector{path, token});
}

}  // extern "C"
