#include "lib/netfront/control_channel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace netback {

Result<std::unique_ptr<ControlChannel>> ControlChannel::open(GuestDevices& devices,
                                                             uint32_t backend_id, int timeout_s) {
  std::unique_ptr<ControlChannel> made(new ControlChannel(devices, timeout_s));
  made->pages_ = static_cast<uint8_t*>(
      xengntshr_share_pages(devices.sharing(), backend_id, 2, made->references_, 1));
  if (made->pages_ == nullptr) return errno_error("cannot share pages", "raise xen_gntalloc.limit");
  const int port = xenevtchn_bind_unbound_port(devices.events(), backend_id);
  if (port < 0) return errno_error("cannot make an event channel");
  made->port_ = static_cast<evtchn_port_t>(port);
  made->ring_ = std::make_unique<ControlFrontRing>(made->pages_);
  return made;
}

ControlChannel::~ControlChannel() {
  if (port_ != 0) xenevtchn_unbind(devices_.events(), port_);
  if (pages_ != nullptr) xengntshr_unshare(devices_.sharing(), pages_, 2);
}

Result<netif::ControlResponse> ControlChannel::ask(uint16_t type, uint32_t data0, uint32_t data1,
                                                   uint32_t data2) {
  const netif::ControlRequest request{
      .id = next_id_++, .type = type, .data = {data0, data1, data2}};
  ring_->put(request);
  if (ring_->push()) xenevtchn_notify(devices_.events(), port_);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s_);
  netif::ControlResponse response;
  while (!ring_->take(response)) {
    if (std::chrono::steady_clock::now() > until)
      return Error{fmt::format("no answer to control request {} in {} s", type, timeout_s_)};
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (response.id != request.id || response.type != type)
    return Error{fmt::format("control request {} {} was answered as {} {}", request.id, type,
                             response.id, response.type)};
  return response;
}

Result<netif::ControlResponse> ControlChannel::ask(uint16_t type, uint32_t queue,
                                                   std::span<netif::StaticGrant> list) {
  auto* shared = reinterpret_cast<netif::StaticGrant*>(pages_ + netif::page_bytes);
  std::ranges::copy(list, shared);
  auto response = ask(type, queue, references_[1], static_cast<uint32_t>(list.size()));
  std::copy_n(shared, list.size(), list.begin());
  return response;
}

Status ControlChannel::hash(uint32_t types, std::span<const uint8_t> key,
                            std::span<const uint32_t> mapping) {
  const auto keys = static_cast<uint32_t>(key.size());
  const auto entries = static_cast<uint32_t>(mapping.size());
  const struct {
    uint16_t type;
    uint32_t data0, data1;
    std::span<const std::byte> page;
  } requests[] = {
      {XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ, 0, {}},
      {XEN_NETIF_CTRL_TYPE_SET_HASH_KEY, list_reference(), keys, std::as_bytes(key)},
      {XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE, entries, 0, {}},
      {XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, list_reference(), entries, std::as_bytes(mapping)},
      {XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, types, 0, {}}};
  for (const auto& request : requests) {
    std::ranges::copy(request.page, std::as_writable_bytes(list_page()).begin());
    auto answer = ask(request.type, request.data0, request.data1, 0);
    if (!answer) return answer.error();
    if (const uint32_t status = answer.value().status; status != XEN_NETIF_CTRL_STATUS_SUCCESS)
      return Error{
          fmt::format("the backend refuses control request {}: status {}", request.type, status)};
  }
  return Done{};
}

Status ControlChannel::stage(uint32_t queue, std::span<netif::StaticGrant> list) {
  auto room = ask(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE, queue, 0, 0);
  if (!room) return room.error();
  const netif::ControlResponse answer = room.value();
  if (answer.status != XEN_NETIF_CTRL_STATUS_SUCCESS || answer.data < list.size()) return Done{};
  while (!list.empty()) {
    const auto part = list.first(std::min<size_t>(list.size(), netif::static_grants_per_list));
    auto added = ask(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, queue, part);
    if (!added) return added.error();
    if (const uint32_t status = added.value().status; status != XEN_NETIF_CTRL_STATUS_SUCCESS)
      return Error{fmt::format("the backend did not map {} pages: status {}", part.size(), status)};
    staged_pages_ += static_cast<uint32_t>(part.size());
    list = list.subspan(part.size());
  }
  return Done{};
}

}  // namespace netback
