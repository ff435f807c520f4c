// Runs of pages of the machine mapped into this process, one after the other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/xenlab/abi/machine.hpp"

namespace xenlab {

// Address of `pages` side by side, or nullptr with errno.
void* map_pages(const Here& here, std::span<const uint32_t> pages, int protection);
void unmap_pages(void* start, size_t count);

}  // namespace xenlab
