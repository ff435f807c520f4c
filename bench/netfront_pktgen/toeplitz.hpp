// The hash that a guest expects of a frame: Toeplitz bit by bit, as netif.h defines it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/netfront/frontend.hpp"

namespace netback {

// Hash of `input` by `key`, with zeros behind the key's end.
uint32_t toeplitz(std::span<const uint8_t> key, std::span<const uint8_t> input);

// Of a frame by the richest of `types`; algorithm NONE: it has no hash. Ethernet without tags, IP
// without options or extension headers, no fragments: what a generator of frames sends.
HashInfo expected_hash(uint32_t types, std::span<const uint8_t> key,
                       std::span<const uint8_t> frame);

}  // namespace netback
