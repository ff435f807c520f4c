// A TCP stream of which every byte is known by its place: its frames are made at one end, as the
// stack of a guest makes them, and checked at the other, however they were cut on the way.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace netback {

class TcpStream {
 public:
  enum class Version { ipv4, ipv6 };

  // The next frame of the stream, of `bytes` bytes, headers included; its checksum is the sum of
  // the pseudo-header. Valid until the next call.
  std::span<const uint8_t> next(Version version, const std::array<uint8_t, 6>& to,
                                const std::array<uint8_t, 6>& from, uint32_t bytes);
  static uint32_t header_bytes(Version version) { return version == Version::ipv4 ? 54 : 74; }

  // Checks a frame that came: headers, checksums, place in the stream, every byte.
  // `checksum_blank`: the guest is to fill it in. False: something is wrong with it; frames that
  // are no TCP are nobody's fault.
  bool check(std::span<const uint8_t> frame, bool checksum_blank);
  uint64_t checked_bytes() const { return checked_bytes_; }
  uint64_t missing_bytes() const { return missing_bytes_; }

 private:
  std::vector<uint8_t> frame_;
  uint32_t sequence_ = 0;  // of the next frame made
  uint16_t identity_ = 0;
  uint32_t expected_ = 0;  // sequence of the next frame that comes
  uint64_t checked_bytes_ = 0, missing_bytes_ = 0;
};

}  // namespace netback
