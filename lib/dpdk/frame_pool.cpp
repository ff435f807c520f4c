#include "lib/dpdk/frame_pool.hpp"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_mempool.h>

#include <cstring>

namespace netback {
namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t line_bytes = RTE_CACHE_LINE_SIZE;
constexpr char ops_name[] = "netback_pages";

size_t element_bytes(const rte_mempool* pool) {
  return pool->header_size + pool->elt_size + pool->trailer_size;
}

ssize_t memory_for_pages(const rte_mempool* pool, uint32_t objects, uint32_t, size_t* chunk_min,
                         size_t* align) {
  if (element_bytes(pool) > page_bytes) return -EINVAL;
  *chunk_min = *align = page_bytes;
  return static_cast<ssize_t>(objects * page_bytes);
}

// One element a page, each a cache line further into its page than the last: elements at equal
// offsets would all fight for the same sets of the L1 cache.
int place_in_pages(rte_mempool* pool, unsigned objects_max, void* memory, rte_iova_t iova,
                   size_t bytes, rte_mempool_populate_obj_cb_t* placed, void* argument) {
  const size_t colours = (page_bytes - element_bytes(pool)) / line_bytes + 1;
  const size_t first = RTE_ALIGN_CEIL(reinterpret_cast<uintptr_t>(memory), page_bytes) -
                       reinterpret_cast<uintptr_t>(memory);
  unsigned count = 0;
  for (size_t page = first; page + page_bytes <= bytes && count < objects_max; page += page_bytes) {
    const size_t at = page + count % colours * line_bytes + pool->header_size;
    void* element = static_cast<uint8_t*>(memory) + at;
    placed(pool, argument, element, iova == RTE_BAD_IOVA ? RTE_BAD_IOVA : iova + at);
    rte_mempool_ops_enqueue_bulk(pool, &element, 1);
    ++count;
  }
  return static_cast<int>(count);
}

// The distribution's ring ops with our placement.
bool register_ops() {
  for (unsigned i = 0; i < rte_mempool_ops_table.num_ops; ++i)
    if (std::strcmp(rte_mempool_ops_table.ops[i].name, ops_name) == 0) return true;
  for (unsigned i = 0; i < rte_mempool_ops_table.num_ops; ++i) {
    rte_mempool_ops ops = rte_mempool_ops_table.ops[i];
    if (std::strcmp(ops.name, "ring_mp_mc") != 0) continue;
    std::strncpy(ops.name, ops_name, sizeof ops.name - 1);
    ops.populate = place_in_pages;
    ops.calc_mem_size = memory_for_pages;
    return rte_mempool_register_ops(&ops) >= 0;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<FramePool>> FramePool::make(const std::string& name, uint32_t buffers) {
  if (!register_ops())
    return Error{"DPDK has no mempool driver 'ring_mp_mc'", "install librte-mempool-ring23"};
  const uint32_t cache = 256;
  rte_mempool* pool =
      rte_pktmbuf_pool_create_by_ops(name.c_str(), buffers, cache, 0,
                                     RTE_PKTMBUF_HEADROOM + buffer_bytes, SOCKET_ID_ANY, ops_name);
  if (pool == nullptr)
    return Error{
        fmt::format("no memory for {} frame buffers: {}", buffers, rte_strerror(rte_errno)),
        "raise memory-mb or lower frame-buffers in dpdk-netback.toml"};
  return std::unique_ptr<FramePool>(new FramePool(pool));
}

}  // namespace netback
