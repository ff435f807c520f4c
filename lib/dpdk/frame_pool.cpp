#include "lib/dpdk/frame_pool.hpp"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_mempool.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace netback {
namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t line_bytes = RTE_CACHE_LINE_SIZE;
constexpr char ops_name[] = "netback_pages";

// Where elements lie: each in whole pages of its own, `first` bytes into them.
struct Layout {
  size_t span, first, colours;
};

// A short buffer is a page with all that belongs to it, and each is a cache line further into its
// page than the last: elements at equal offsets would all fight for the same sets of the L1 cache.
// The pages of a large one follow on one at whose end lies what goes before them.
Layout layout_of(const rte_mempool* pool) {
  const size_t element = pool->header_size + pool->elt_size + pool->trailer_size;
  if (element <= page_bytes) return {page_bytes, 0, (page_bytes - element) / line_bytes + 1};
  const size_t first = page_bytes - pool->header_size - sizeof(rte_mbuf) - RTE_PKTMBUF_HEADROOM;
  return {RTE_ALIGN_CEIL(first + element, page_bytes), first, 1};
}

// An mbuf begins with a cache line, its buffer behind it so much later that its pages are pages.
constexpr uint16_t large_shift = RTE_PKTMBUF_HEADROOM - FramePool::large_pages_offset;

void shift_buffer(rte_mempool*, void*, void* element, unsigned) {
  auto* buffer = static_cast<rte_mbuf*>(element);
  buffer->buf_addr = static_cast<uint8_t*>(buffer->buf_addr) + large_shift;
  buffer->buf_iova += large_shift;
  buffer->buf_len = static_cast<uint16_t>(buffer->buf_len - large_shift);
}

void shift_buffers(rte_mempool* pool) {
  rte_mempool_obj_iter(pool, shift_buffer, nullptr);
  auto* told = static_cast<rte_pktmbuf_pool_private*>(rte_mempool_get_priv(pool));
  told->mbuf_data_room_size = static_cast<uint16_t>(told->mbuf_data_room_size - large_shift);
}

ssize_t memory_for_pages(const rte_mempool* pool, uint32_t objects, uint32_t, size_t* chunk_min,
                         size_t* align) {
  *chunk_min = layout_of(pool).span;
  *align = page_bytes;
  return static_cast<ssize_t>(objects * *chunk_min);
}

// Has the kernel give memory its pages in one call and now: a fault for each would take most of the
// start in a PV dom0, and those of the large buffers would come in the data path. A kernel older
// than Linux 5.14 refuses, and they come as they are touched.
void touch_pages(void* begin, size_t bytes) {
  madvise(begin, bytes, MADV_POPULATE_WRITE);
}

int place_in_pages(rte_mempool* pool, unsigned objects_max, void* memory, rte_iova_t iova,
                   size_t bytes, rte_mempool_populate_obj_cb_t* placed, void* argument) {
  const Layout layout = layout_of(pool);
  const size_t begin = RTE_ALIGN_CEIL(reinterpret_cast<uintptr_t>(memory), page_bytes) -
                       reinterpret_cast<uintptr_t>(memory);
  touch_pages(static_cast<uint8_t*>(memory) + begin,
              std::min(bytes - begin, objects_max * layout.span));
  unsigned count = 0;
  for (size_t page = begin; page + layout.span <= bytes && count < objects_max;
       page += layout.span) {
    const size_t at = page + layout.first + count % layout.colours * line_bytes + pool->header_size;
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

// `cached`: so many may lie with each lcore, where no other finds them.
rte_mempool* make_mempool(const std::string& name, uint32_t buffers, uint32_t cached,
                          uint32_t bytes) {
  return rte_pktmbuf_pool_create_by_ops(name.c_str(), buffers, cached, 0,
                                        static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + bytes),
                                        SOCKET_ID_ANY, ops_name);
}

}  // namespace

Result<std::unique_ptr<FramePool>> FramePool::make(const std::string& name, uint32_t buffers,
                                                   uint32_t large_buffers) {
  if (!register_ops())
    return Error{"DPDK has no mempool driver 'ring_mp_mc'", "install librte-mempool-ring23"};
  rte_mempool* pool = make_mempool(name, buffers, 256, buffer_bytes);
  if (pool == nullptr)
    return Error{
        fmt::format("no memory for {} frame buffers: {}", buffers, rte_strerror(rte_errno)),
        "raise memory-mb or lower frame-buffers in dpdk-netback.toml"};
  std::unique_ptr<FramePool> made(new FramePool(pool));
  if (large_buffers == 0) return made;
  made->large_ = make_mempool(name + "-large", large_buffers, 16, large_buffer_bytes + large_shift);
  if (made->large_ == nullptr)
    return Error{
        fmt::format("no memory for {} large buffers: {}", large_buffers, rte_strerror(rte_errno)),
        "raise memory-mb or lower large-buffers in dpdk-netback.toml"};
  shift_buffers(made->large_);
  return made;
}

}  // namespace netback
