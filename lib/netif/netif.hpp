// The netif wire format (xen/io/netif.h of libxen-dev) with its sizes asserted, what Linux added to
// it, and the xenstore keys by name.
#pragma once

#include <cstddef>
#include <cstdint>

#include <xen/grant_table.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>
#include <xen/xen.h>

#undef mb
#undef rmb
#undef wmb

namespace netback::netif {

using FromGuestRequest = netif_tx_request;  // the guest's "tx": a frame on its way from the guest
using FromGuestResponse = netif_tx_response;
using ToGuestRequest = netif_rx_request;  // the guest's "rx": a buffer it posted for a frame
using ToGuestResponse = netif_rx_response;
using ExtraInfo = netif_extra_info;
using ControlRequest = xen_netif_ctrl_request;
using ControlResponse = xen_netif_ctrl_response;
using StaticGrant = xen_netif_gref;

inline constexpr uint32_t page_bytes = 4096;  // Xen's granularity, whatever the kernel's page size
inline constexpr uint32_t ring_slots = 256;
inline constexpr uint32_t control_ring_slots = 128;
// Of one ADD_GREF_MAPPING or DEL_GREF_MAPPING: its list is a page.
inline constexpr uint32_t static_grants_per_list = page_bytes / sizeof(StaticGrant);

static_assert(sizeof(FromGuestRequest) == 12 && sizeof(FromGuestResponse) == 4);
static_assert(sizeof(ToGuestRequest) == 8 && sizeof(ToGuestResponse) == 8);
static_assert(sizeof(ExtraInfo) == 8);
static_assert(__CONST_RING_SIZE(netif_tx, page_bytes) == ring_slots);
static_assert(__CONST_RING_SIZE(netif_rx, page_bytes) == ring_slots);
static_assert(sizeof(ControlRequest) == 16 && sizeof(ControlResponse) == 12);
static_assert(__CONST_RING_SIZE(xen_netif_ctrl, page_bytes) == control_ring_slots);
static_assert(sizeof(StaticGrant) == 8 && static_grants_per_list == 512);
// What a restart relies on: a response leaves the request's id where it can be found again
// (from_guest: the id lies behind the response; to_guest: both have it first).
static_assert(offsetof(FromGuestRequest, id) >= sizeof(FromGuestResponse));
static_assert(offsetof(ToGuestRequest, id) == offsetof(ToGuestResponse, id));

// Linux's sixth extra type (include/xen/interface/io/netif.h). We may send it; from a guest it is a
// violation.
inline constexpr uint8_t extra_type_xdp = 5;
// Bytes that a guest may have left free before the data of each of its pages. Linux's header has
// 0x7fff, which is no page any more; its frontend asks for 256. More than half a page is not
// served.
inline constexpr uint16_t xdp_headroom_max = page_bytes / 2;

// Grant references below this are reserved (console, xenstore): no guest grants a frame by them.
inline constexpr uint32_t first_reference = GNTTAB_NR_RESERVED_ENTRIES;

enum class XenbusState : uint8_t {
  unknown = XenbusStateUnknown,  // also: the node is gone
  initialising = XenbusStateInitialising,
  init_wait = XenbusStateInitWait,
  initialised = XenbusStateInitialised,
  connected = XenbusStateConnected,
  closing = XenbusStateClosing,
  closed = XenbusStateClosed,
  reconfiguring = XenbusStateReconfiguring,
  reconfigured = XenbusStateReconfigured,
};

namespace keys {
// In our directory, written by us.
inline constexpr char state[] = "state";
inline constexpr char feature_rx_copy[] = "feature-rx-copy";
inline constexpr char feature_rx_flip[] = "feature-rx-flip";
inline constexpr char feature_sg[] = "feature-sg";
inline constexpr char feature_ipv6_csum_offload[] = "feature-ipv6-csum-offload";
inline constexpr char feature_gso_tcpv4[] = "feature-gso-tcpv4";
inline constexpr char feature_gso_tcpv6[] = "feature-gso-tcpv6";
inline constexpr char feature_split_event_channels[] = "feature-split-event-channels";
inline constexpr char feature_xdp_headroom[] = "feature-xdp-headroom";
inline constexpr char feature_ctrl_ring[] = "feature-ctrl-ring";
inline constexpr char multi_queue_max_queues[] = "multi-queue-max-queues";
inline constexpr char feature_multicast_control[] = "feature-multicast-control";
inline constexpr char feature_dynamic_multicast_control[] = "feature-dynamic-multicast-control";
inline constexpr char carrier[] = "carrier";
inline constexpr char error[] = "error";
// In our directory, written by the toolstack.
inline constexpr char frontend[] = "frontend";
inline constexpr char frontend_id[] = "frontend-id";
inline constexpr char online[] = "online";
inline constexpr char hotplug_status[] = "hotplug-status";
inline constexpr char mac[] = "mac";
inline constexpr char bridge[] = "bridge";
inline constexpr char nic[] = "nic";
inline constexpr char rate[] = "rate";
inline constexpr char mtu[] = "mtu";
inline constexpr char need_rx_filter[] = "SUNW-need-rx-filter";
inline constexpr char need_set_physaddr[] = "SUNW-need-set-physaddr";
inline constexpr char vlan[] = "vlan";
inline constexpr char ip[] = "ip";
// In the guest's directory, written by the guest.
inline constexpr char tx_ring_ref[] = "tx-ring-ref";
inline constexpr char rx_ring_ref[] = "rx-ring-ref";
inline constexpr char event_channel[] = "event-channel";
inline constexpr char event_channel_tx[] = "event-channel-tx";
inline constexpr char event_channel_rx[] = "event-channel-rx";
inline constexpr char ctrl_ring_ref[] = "ctrl-ring-ref";
inline constexpr char event_channel_ctrl[] = "event-channel-ctrl";
inline constexpr char request_rx_copy[] = "request-rx-copy";
inline constexpr char request_multicast_control[] = "request-multicast-control";
inline constexpr char feature_rx_notify[] = "feature-rx-notify";
inline constexpr char feature_no_csum_offload[] = "feature-no-csum-offload";
inline constexpr char xdp_headroom[] = "xdp-headroom";
inline constexpr char multi_queue_num_queues[] = "multi-queue-num-queues";
}  // namespace keys

}  // namespace netback::netif
