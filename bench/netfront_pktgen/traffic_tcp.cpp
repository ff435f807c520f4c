// TCP frames that stand for several.
#include <algorithm>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

bool Traffic::put_tcp_frame() {
  // The stream goes on only with frames that are sent.
  if (queue_.free_slots() < frame_slots_max + 1 || queue_.free_buffers() < frame_slots_max)
    return false;
  const bool ipv6 = options_.ipv6;
  std::array<uint8_t, 6> from;
  std::copy_n(&frame_[6], from.size(), from.begin());
  const auto frame = stream_.next(ipv6 ? TcpStream::Version::ipv6 : TcpStream::Version::ipv4,
                                  targets_.front(), from, options_.bytes);
  return put_whole(frame, NETTXF_csum_blank | NETTXF_data_validated,
                   {static_cast<uint16_t>(options_.segment_bytes),
                    ipv6 ? uint8_t{XEN_NETIF_GSO_TYPE_TCPV6} : uint8_t{XEN_NETIF_GSO_TYPE_TCPV4}});
}

void Traffic::check_tcp(const FrontQueue::Received& received) {
  if (!gather(received)) return;
  longest_ = std::max<uint64_t>(longest_, gathered_.size());
  if (gathered_segmentation_.segment_bytes > 0) ++segmented_;
  if (!stream_.check(gathered_, gathered_flags_ & NETRXF_csum_blank)) ++changed_;
}

}  // namespace netback
