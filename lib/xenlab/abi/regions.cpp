#include "lib/xenlab/abi/regions.hpp"

#include <errno.h>
#include <sys/mman.h>

namespace xenlab {

void* map_pages(const Here& here, std::span<const uint32_t> pages, int protection) {
  void* start = mmap(nullptr, pages.size() * page_bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  for (size_t i = 0, run = 1; i < pages.size(); i += run) {
    for (run = 1; i + run < pages.size() && pages[i + run] == pages[i] + run; ++run) {
    }
    const auto offset = static_cast<off_t>(machine_bytes + uint64_t{pages[i]} * page_bytes);
    if (mmap(static_cast<uint8_t*>(start) + i * page_bytes, run * page_bytes, protection,
             MAP_SHARED | MAP_FIXED, here.file, offset) != MAP_FAILED)
      continue;
    const int why = errno;
    unmap_pages(start, pages.size());
    errno = why;
    return nullptr;
  }
  return start;
}

void unmap_pages(void* start, size_t count) {
  munmap(start, count * page_bytes);
}

}  // namespace xenlab
