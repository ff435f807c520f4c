// Cuts a frame that stands for several (frame.hpp: segmented) into those, for whom cannot take it
// whole: a port without segmentation, a guest without it, whoever shares a frame with others.
#pragma once

#include <array>
#include <span>

#include "dataplane/frame.hpp"
#include "dataplane/limits.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

using Segments = std::array<rte_mbuf*, limits::segments_max>;

// Copies of the parts of `frame`, in order, in `segments`: ordinary frames with blank checksums
// (the pseudo-header's sum is in its place), from the same source. Headers as TCP/IP stacks expect
// them: lengths, sequence, IPv4's id one up each; FIN and PSH on the last alone, CWR on the first.
// The frame stays as it is and the caller's. Empty when there are not enough buffers for all. It
// stands for segments_max frames at most.
std::span<rte_mbuf*> cut(const rte_mbuf* frame, const FramePool& pool, Segments& segments);

}  // namespace netback
