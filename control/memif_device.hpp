// Ports on shared memory (net_memif): what is checked before the driver sees it, and its socket.
#pragma once

#include "control/port_device.hpp"
#include "dataplane/limits.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

// The longest frame is one buffer of ours and one of the ring's.
inline constexpr uint32_t memif_mtu_max =
    FramePool::buffer_bytes - limits::ethernet_header_bytes - limits::vlan_tag_bytes;
// The ring's buffers, unless the port says otherwise. With more than one of our buffers holds the
// driver receives frames of any length; otherwise it copies whatever length the peer says into one.
inline constexpr uint32_t memif_buffer_bytes = 4096;

// For check_device(): the role, the socket and its directory, the ring's buffers against the mtu.
// A server's socket that nobody listens on any more, left by a process that was killed, is removed.
Status check_memif(const PortConfig& config, PortDevice& device);

// Of a client's socket; 0: there is none, or it has a name and no file.
uint64_t memif_socket_inode(const PortDevice& device);
// Whether somebody listens on a client's socket: as the kernel says, or, of whom it does not know
// in our network namespace, because the socket is not the one `before`.
bool memif_server_is_there(const PortDevice& device, uint64_t before);

}  // namespace netback
