// Toeplitz hashes and what they are of. The vectors are Microsoft's: "Verifying the RSS Hash
// Calculation", learn.microsoft.com/windows-hardware/drivers/network.
#include "dataplane/hashing.hpp"

#include <arpa/inet.h>

#include "dataplane/queue_choice.hpp"
#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint8_t kind_ipv4 = _XEN_NETIF_CTRL_HASH_TYPE_IPV4,
                  kind_ipv4_tcp = _XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP,
                  kind_ipv6 = _XEN_NETIF_CTRL_HASH_TYPE_IPV6,
                  kind_ipv6_tcp = _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP;

struct RssVector {
  const char *destination, *source;
  uint16_t destination_port, source_port;
  uint32_t hash, tcp_hash;
};
const RssVector ipv4_vectors[] = {
    {"161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2}};
const RssVector ipv6_vectors[] = {
    {"3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4b61e985,
     0x02d1feef}};

Packet rss_packet(const RssVector& vector, PacketShape shape) {
  Packet packet = make_packet(shape);
  uint8_t* addresses = &packet.bytes[packet.l3 + (shape.ipv6 ? 8 : 12)];
  const int family = shape.ipv6 ? AF_INET6 : AF_INET;
  const size_t bytes = shape.ipv6 ? 16 : 4;
  REQUIRE(inet_pton(family, vector.source, addresses) == 1);
  REQUIRE(inet_pton(family, vector.destination, addresses + bytes) == 1);
  const uint16_t ports[] = {htons(vector.source_port), htons(vector.destination_port)};
  std::memcpy(&packet.bytes[packet.l4], ports, sizeof ports);
  return packet;
}

struct Hasher : Bench {
  // `piece`: bytes of the frame in each buffer.
  std::optional<FrameHash> of(const Bytes& bytes, uint32_t types = HashSettings::all_types,
                              uint32_t piece = 0) {
    rte_mbuf* frame = make_mbuf(*pool, bytes, piece);
    const auto hash = Hashing(hash_settings(types)).of(frame);
    rte_pktmbuf_free(frame);
    return hash;
  }
};

using FoundHash = std::optional<FrameHash>;

}  // namespace

TEST_CASE(
    "hashing: Microsoft's verification vectors, IPv4 and IPv6, with and without TCP's ports") {
  Hasher hasher;
  for (const bool is_ipv6 : {false, true}) {
    for (const RssVector& vector :
         is_ipv6 ? std::span<const RssVector>(ipv6_vectors) : ipv4_vectors) {
      INFO(vector.source);
      const Bytes tcp = rss_packet(vector, {.ipv6 = is_ipv6}).bytes;
      const Bytes udp = rss_packet(vector, {.ipv6 = is_ipv6, .udp = true}).bytes;
      const uint8_t plain = is_ipv6 ? kind_ipv6 : kind_ipv4,
                    ports = is_ipv6 ? kind_ipv6_tcp : kind_ipv4_tcp;
      CHECK(hasher.of(tcp) == FoundHash({vector.tcp_hash, ports}));
      CHECK(hasher.of(udp) == FoundHash({vector.hash, plain}));
      CHECK(hasher.of(tcp, 1u << plain) == FoundHash({vector.hash, plain}));
      CHECK(hasher.of(tcp, 1u << ports) == FoundHash({vector.tcp_hash, ports}));
      CHECK(hasher.of(udp, 1u << ports) == std::nullopt);
    }
  }
}

TEST_CASE("hashing: each choice of types, of each kind of frame") {
  Hasher hasher;
  for (uint32_t types = 1; types < 16; ++types) {
    for (const bool is_ipv6 : {false, true}) {
      for (const bool udp : {false, true}) {
        const RssVector& vector = is_ipv6 ? ipv6_vectors[0] : ipv4_vectors[0];
        const auto found =
            hasher.of(rss_packet(vector, {.ipv6 = is_ipv6, .udp = udp}).bytes, types);
        const uint8_t plain = is_ipv6 ? kind_ipv6 : kind_ipv4,
                      ports = is_ipv6 ? kind_ipv6_tcp : kind_ipv4_tcp;
        FoundHash expected;
        if (!udp && (types >> ports & 1) != 0)
          expected = {vector.tcp_hash, ports};
        else if ((types >> plain & 1) != 0)
          expected = {vector.hash, plain};
        INFO(types << " " << is_ipv6 << udp);
        CHECK(found == expected);
      }
    }
  }
}

TEST_CASE("hashing: behind a tag, options or extension headers, in buffers cut anywhere") {
  Hasher hasher;
  const RssVector& four = ipv4_vectors[1];
  const RssVector& six = ipv6_vectors[1];
  for (const uint32_t piece : {0u, 14u, 20u, 27u, 35u, 54u, 61u}) {
    for (const bool tagged : {false, true}) {
      const auto of = [&](const RssVector& vector, PacketShape shape) {
        shape.tagged = tagged;
        return hasher.of(rss_packet(vector, shape).bytes, HashSettings::all_types, piece);
      };
      INFO(piece << " " << tagged);
      CHECK(of(four, {}) == FoundHash({four.tcp_hash, kind_ipv4_tcp}));
      CHECK(of(four, {.options = 12}) == FoundHash({four.tcp_hash, kind_ipv4_tcp}));
      CHECK(of(six, {.ipv6 = true}) == FoundHash({six.tcp_hash, kind_ipv6_tcp}));
      CHECK(of(six, {.ipv6 = true, .extensions = {8, 16}}) ==
            FoundHash({six.tcp_hash, kind_ipv6_tcp}));
    }
  }
}

TEST_CASE("hashing: a fragment has no ports, what is no IP or not whole has no hash") {
  Hasher hasher;
  const RssVector& vector = ipv4_vectors[2];
  for (const uint16_t fragment : {0x2000, 0x0001, 0x2001}) {
    Packet packet = rss_packet(vector, {});
    packet.bytes[packet.l3 + 6] = static_cast<uint8_t>(fragment >> 8);
    packet.bytes[packet.l3 + 7] = static_cast<uint8_t>(fragment);
    CHECK(hasher.of(packet.bytes) == FoundHash({vector.hash, kind_ipv4}));
    CHECK(hasher.of(packet.bytes, 1u << kind_ipv4_tcp) == std::nullopt);
  }
  CHECK(hasher.of(plain_frame(60)) == std::nullopt);
  for (const bool is_ipv6 : {false, true}) {
    Packet packet = rss_packet(is_ipv6 ? ipv6_vectors[0] : vector, {.ipv6 = is_ipv6});
    for (size_t bytes = 14; bytes <= packet.l4 + 20; ++bytes) {  // ends anywhere in its headers
      const auto found = hasher.of(Bytes(packet.bytes.begin(), packet.bytes.begin() + bytes));
      CHECK(found.has_value() == (bytes >= packet.l4));
      if (found)
        CHECK(found->type == (is_ipv6 ? kind_ipv6 : kind_ipv4) + (bytes == packet.l4 + 20 ? 1 : 0));
    }
    // No version of IP that there is. IPv6's is not looked at, as Linux does not.
    packet.bytes[packet.l3] = 0x54;
    CHECK(hasher.of(packet.bytes).has_value() == is_ipv6);
  }
}

TEST_CASE("hashing: a key is padded with zeros, one of none hashes all to 0") {
  Hasher hasher;
  HashSettings settings = hash_settings();
  rte_mbuf* frame = make_mbuf(*hasher.pool, rss_packet(ipv4_vectors[0], {}).bytes);
  settings.key.fill(0);
  CHECK(Hashing(settings).of(frame)->value == 0);
  settings.key[0] = 0x80;  // the first bit of the source address, 66
  CHECK(Hashing(settings).of(frame)->value == 0);
  settings.key[0] = 0x40;
  CHECK(Hashing(settings).of(frame)->value == 0x8000'0000);
  rte_pktmbuf_free(frame);
}

TEST_CASE("hashing: the queue is the hash modulo their number, or what the mapping has there") {
  Hasher hasher;
  rte_mbuf* frame = make_mbuf(*hasher.pool, rss_packet(ipv4_vectors[0], {}).bytes);
  rte_mbuf* other = make_mbuf(*hasher.pool, plain_frame(60));
  HashSettings settings = hash_settings();
  const uint32_t hash = ipv4_vectors[0].tcp_hash;
  for (const uint32_t queues : {1u, 2u, 3u, 8u}) {
    CHECK(Hashing(settings).queue_of(frame, queues) == hash % queues);
    CHECK(Hashing(settings).queue_of(other, queues) == 0);
  }
  for (const uint32_t entries : {1u, 7u, 128u}) {
    settings.mapping_entries = entries;
    settings.mapping.fill(0);
    settings.mapping[hash % entries] = 5;
    CHECK(Hashing(settings).queue_of(frame, 8) == 5);
    settings.mapping.fill(2);
    settings.mapping[0] = 6;
    CHECK(Hashing(settings).queue_of(other, 8) == 6);
  }
  rte_pktmbuf_free(frame);
  rte_pktmbuf_free(other);
}

TEST_CASE("hashing: of a vif's queues the guest's own choice, not ours, once it has made one") {
  Hasher hasher;
  TestGuest one(0), two(0), three(0);
  GuestQueue* const all[] = {one.queue.get(), two.queue.get(), three.queue.get()};
  for (GuestQueue* queue : all) queue->siblings = all;
  rte_mbuf* frame = make_mbuf(*hasher.pool, rss_packet(ipv4_vectors[0], {}).bytes);
  HashSettings settings = hash_settings();
  for (uint32_t number = 0; number < 3; ++number) {
    settings.mapping_entries = 1;
    settings.mapping[0] = number;
    const Hashing hashing(settings);
    one.queue->hashing = &hashing;
    CHECK(&choose_queue(*one.queue, frame) == all[number]);
  }
  settings.mapping_entries = 0;
  const Hashing hashing(settings);
  one.queue->hashing = &hashing;
  CHECK(&choose_queue(*one.queue, frame) == all[ipv4_vectors[0].tcp_hash % 3]);
  one.queue->hashing = nullptr;
  CHECK(&choose_queue(*one.queue, frame) == all[uint64_t{flow_hash(frame)} * 3 >> 32]);
  rte_pktmbuf_free(frame);
}
