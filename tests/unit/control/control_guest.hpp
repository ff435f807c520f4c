// A guest with a control ring and pages that it would have us keep mapped. It lies when told to.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lib/netfront/front_ring.hpp"
#include "tests/unit/support/control_host.hpp"

namespace netback::test {

// What requests ask, and how they are answered.
constexpr uint16_t get_size = XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE;
constexpr uint16_t add_pages = XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING;
constexpr uint16_t delete_pages = XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING;
constexpr uint32_t success = XEN_NETIF_CTRL_STATUS_SUCCESS;
constexpr uint32_t not_supported = XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED;
constexpr uint32_t invalid = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
constexpr uint16_t read_only = XEN_NETIF_CTRLF_GREF_readonly;

using List = std::vector<netif::StaticGrant>;
using Data = std::array<uint32_t, 3>;

class ControlGuest {
 public:
  static constexpr uint32_t ring_reference = 300;  // and the channel's number
  static constexpr uint32_t list_reference = 301;
  static constexpr uint32_t first_page = 1000;

  // Its vif is there, and the ring; connect() comes next. The ring starts at `start`.
  explicit ControlGuest(ControlHost& host, uint16_t domain = 5, uint32_t start = 0)
      : host(host), id(host.add_vif(domain)), ring(ring_page_->bytes, start) {
    xen().grant(domain, ring_reference, ring_page_->bytes);
    xen().grant(domain, list_reference, list_page_->bytes);
    host.settle();
    host.nodes.set(ControlHost::frontend(id) + "/ctrl-ring-ref", std::to_string(ring_reference));
    host.nodes.set(ControlHost::frontend(id) + "/event-channel-ctrl",
                   std::to_string(ring_reference));
  }
  ControlGuest& connect(uint32_t queues = 1) {
    host.connect(id, queues);
    host.settle();
    REQUIRE(host.state(id) == 4);
    return *this;
  }

  // Grants `count` pages more, references in a row; the list that would have them mapped.
  List pages(uint32_t count, uint16_t flags = 0) {
    List list;
    for (uint32_t i = 0; i < count; ++i) {
      pages_.push_back(std::make_unique<Page>());
      const auto reference = static_cast<uint32_t>(first_page + pages_.size() - 1);
      xen().grant(id.domain, reference, pages_.back()->bytes, flags == read_only);
      list.push_back({.ref = reference, .flags = flags, .status = 77});
    }
    return list;
  }
  uint8_t* page(uint32_t reference) { return pages_.at(reference - first_page)->bytes; }
  // Those of pages() that we have mapped.
  uint32_t mapped() const { return xen().mapped(id.domain, first_page); }

  // Puts a request, seen by us after push(), which kicks when we asked to be kicked.
  uint16_t put(uint16_t type, Data data = {}) {
    const uint16_t request = next_id_++;
    ring.put({.id = request, .type = type, .data = {data[0], data[1], data[2]}});
    return request;
  }
  bool push() {
    const bool wanted = ring.push();
    if (wanted) kick();
    return wanted;
  }
  void kick() { xen().kick(port()); }
  // Our port of its channel; 0: none.
  uint32_t port() const {
    for (const auto& [port, remote] : xen().bound)
      if (remote == std::pair<uint32_t, uint32_t>{id.domain, ring_reference}) return port;
    return 0;
  }
  // Its list page holds this from here on; what it holds.
  Data put_list(const List& list) {
    std::copy(list.begin(), list.end(), list_begin());
    return {0, list_reference, static_cast<uint32_t>(list.size())};
  }
  std::vector<uint32_t> statuses(uint32_t count) {
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < count; ++i) all.push_back(list_begin()[i].status);
    return all;
  }

  // The next answer, waited for.
  netif::ControlResponse answer() {
    REQUIRE(host.soon([&] { return ring.has_response(); }));
    return *ring.get();
  }
  netif::ControlResponse ask(uint16_t type, Data data = {}) {
    const uint16_t request = put(type, data);
    push();
    const auto response = answer();
    CHECK(response.id == request);
    CHECK(response.type == type);
    return response;
  }
  netif::ControlResponse ask(uint16_t type, const List& list) { return ask(type, put_list(list)); }

  // Until we wait for its next request: its ring is empty and no pause is under way.
  void rest() {
    const uint32_t before = xen().unmasked;
    kick();
    REQUIRE(host.soon([&] { return xen().unmasked != before; }));
  }
  // Whether we come to ask to be kicked for its next request.
  bool is_awaited() {
    return host.soon([&] { return ring.req_event() == ring.produced() + 1; });
  }
  // Lets a few pauses go by; true when nothing was answered in that time.
  bool stays_unanswered() {
    for (int i = 0; i < 4; ++i) {
      host.settle();
      host.loop->run_once(std::chrono::milliseconds(2));
    }
    return !ring.has_response();
  }
  const ControlRing* ours() const { return host.vif(id).control_ring(); }
  // What the worker is to do, if it is to use other pages.
  const UseStaging* use_staging() const {
    const Command* command = host.next_command();
    return command == nullptr ? nullptr : std::get_if<UseStaging>(&command->what);
  }
  std::string file() const { return host.state_files.path_of("staging-" + id.text()); }

  ControlHost& host;
  const VifId id;

 private:
  netif::StaticGrant* list_begin() {
    return reinterpret_cast<netif::StaticGrant*>(list_page_->bytes);
  }

  std::unique_ptr<Page> ring_page_ = std::make_unique<Page>();
  std::unique_ptr<Page> list_page_ = std::make_unique<Page>();
  std::vector<std::unique_ptr<Page>> pages_;
  uint16_t next_id_ = 40;

 public:
  ControlFrontRing ring;
};

}  // namespace netback::test
