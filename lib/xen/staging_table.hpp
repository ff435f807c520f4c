// The pages of a guest that stay mapped here (netif.h "Static Grants"), by grant reference: copies
// from and to them take no hypercall. Control makes a table, a worker reads it, nobody changes it.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace netback {

class StagingTable {
 public:
  struct Page {
    uint8_t* bytes;
    uint32_t reference;  // never a reserved one
    bool writable;
  };
  static constexpr uint32_t pages_max = 1024;

  // References near one another lie near one another. One whose bucket is full has no entry: its
  // frames are copied by the hypervisor. No list that a guest may think of makes find() slower.
  explicit StagingTable(std::span<const Page> pages)
      : buckets_(std::bit_ceil(pages.size() / 2 + 1)) {
    for (const Page& page : pages)
      for (Page& entry : bucket(page.reference))
        if (entry.bytes == nullptr) {
          entry = page;
          break;
        }
  }

  // The page of a reference; null when it is not here, or when it is to be written and may not be.
  uint8_t* find(uint32_t reference, bool for_writing) const {
    for (const Page& entry : buckets_[index(reference)])
      if (entry.reference == reference && entry.bytes != nullptr)
        return for_writing && !entry.writable ? nullptr : entry.bytes;
    return nullptr;
  }

 private:
  static constexpr uint32_t bucket_pages = 4;
  using Bucket = std::array<Page, bucket_pages>;
  static_assert(sizeof(Bucket) == 64, "a cache line");

  size_t index(uint32_t reference) const {
    return (reference / bucket_pages) & (buckets_.size() - 1);
  }
  Bucket& bucket(uint32_t reference) { return buckets_[index(reference)]; }

  std::vector<Bucket> buckets_;
};

}  // namespace netback
