// What a guest writes into its directory in xenstore, through agree(): "KEY=VALUE" lines.
#include <set>

#include "control/handshake.hpp"
#include "tests/fuzz/keys.hpp"
#include "tests/fuzz/reached.hpp"

using namespace netback;

namespace {

constexpr uint32_t queues_max = 4;  // that were offered

// What every connection relies on.
void check(const Agreement& agreed) {
  NETBACK_CHECK(!agreed.queues.empty() && agreed.queues.size() <= queues_max);
  std::set<uint32_t> rings, channels;
  for (const QueueRings& queue : agreed.queues) {
    NETBACK_CHECK(rings.insert(queue.from_guest_reference).second);
    NETBACK_CHECK(rings.insert(queue.to_guest_reference).second);
    NETBACK_CHECK(channels.insert(queue.from_guest_channel).second);
    NETBACK_CHECK(queue.to_guest_channel == queue.from_guest_channel ||
                  channels.insert(queue.to_guest_channel).second);
  }
  NETBACK_CHECK(!channels.contains(0));
  if (agreed.control_reference != 0) NETBACK_CHECK(rings.insert(agreed.control_reference).second);
  for (const uint32_t reference : rings) NETBACK_CHECK(reference >= netif::first_reference);
  NETBACK_CHECK((agreed.control_reference != 0) == (agreed.control_channel != 0));
  NETBACK_CHECK(agreed.xdp_headroom <= netif::xdp_headroom_max);
  NETBACK_CHECK(!agreed.takes_gso_tcpv4 || (agreed.takes_chains && agreed.takes_blank_ipv4));
  NETBACK_CHECK(!agreed.takes_gso_tcpv6 || (agreed.takes_chains && agreed.takes_blank_ipv6));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto keys = fuzz::keys_of({reinterpret_cast<const char*>(data), size});
  const auto agreed = agree(
      [&](std::string_view key) -> std::optional<std::string> {
        const auto found = keys.find(std::string(key));
        if (found == keys.end()) return std::nullopt;
        return found->second;
      },
      queues_max);
  if (agreed)
    check(Result(agreed).value());
  else
    fuzz::say(agreed.error());
  return 0;
}
