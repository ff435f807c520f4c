// Grant copies: what is copied, what is refused, and how it is said.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/xen/c_api.hpp"
#include "lib/xenlab/conformance/transcript.hpp"

namespace conformance {
namespace {

constexpr uint32_t page = 4096, bad_reference = 1U << 20, bad_domain = 0x7000;
using Segment = xengnttab_grant_copy_segment_t;

struct Copier {
  xengnttab_handle* handle = xengnttab_open(nullptr, 0);
  xengntshr_handle* sharing = xengntshr_open(nullptr, 0);
  uint32_t writable = 0, read_only = 0;
  uint8_t* shared;
  uint8_t* frozen;
  uint8_t* local;  // two pages

  Copier() {
    shared = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 1, &writable, 1));
    frozen = static_cast<uint8_t*>(xengntshr_share_pages(sharing, 0, 1, &read_only, 0));
    local = static_cast<uint8_t*>(
        mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (uint32_t i = 0; i < page; ++i) shared[i] = frozen[i] = static_cast<uint8_t>(i * 7 + 1);
  }
  ~Copier() {
    xengntshr_close(sharing);
    xengnttab_close(handle);
  }

  static Segment from(uint32_t reference, uint16_t offset, void* to, uint16_t bytes,
                      uint16_t domain = 0) {
    Segment segment{};
    segment.flags = GNTCOPY_source_gref;
    segment.source.foreign = {reference, offset, domain};
    segment.dest.virt = to;
    segment.len = bytes;
    segment.status = 77;
    return segment;
  }
  static Segment to(uint32_t reference, uint16_t offset, void* from, uint16_t bytes) {
    Segment segment{};
    segment.flags = GNTCOPY_dest_gref;
    segment.dest.foreign = {reference, offset, 0};
    segment.source.virt = from;
    segment.len = bytes;
    segment.status = 77;
    return segment;
  }
  void say_copy(const char* what, std::vector<Segment> segments) {
    errno = 0;
    const int result =
        xengnttab_grant_copy(handle, static_cast<uint32_t>(segments.size()), segments.data());
    const int why = errno;
    std::string outcome = result == 0 ? "ok, statuses" : "-1 " + errno_name(why);
    // After a call that failed none counts.
    for (const Segment& segment : segments)
      if (result == 0) outcome += fmt::format(" {}", segment.status);
    say("xengnttab_grant_copy", what, outcome);
  }
};

}  // namespace

void copies() {
  Copier c;
  const auto same = [&](const uint8_t* a, const uint8_t* b, size_t bytes) {
    say("xengnttab_grant_copy", "the bytes are the same", yes(std::equal(a, a + bytes, b)));
  };
  c.say_copy("from a grant", {c.from(c.writable, 10, c.local, 100)});
  same(c.local, c.shared + 10, 100);
  c.say_copy("from a whole page", {c.from(c.writable, 0, c.local, page)});
  same(c.local, c.shared, page);
  c.say_copy("to bytes across a page of ours", {c.from(c.writable, 0, c.local + 2000, 4000)});
  same(c.local + 2000, c.shared, 4000);
  std::fill(c.local, c.local + page, uint8_t{0xa5});
  c.say_copy("to a grant", {c.to(c.writable, 3000, c.local, 1000)});
  same(c.local, c.shared + 3000, 1000);
  c.say_copy("to a grant, up to the last byte", {c.to(c.writable, 4095, c.local, 1)});
  c.say_copy("from a read-only grant", {c.from(c.read_only, 0, c.local, 64)});
  same(c.local, c.frozen, 64);
  c.say_copy("to a read-only grant", {c.to(c.read_only, 0, c.local, 64)});
  c.say_copy("from a reference that was never given", {c.from(bad_reference, 0, c.local, 64)});
  c.say_copy("from a reserved one that is not given", {c.from(7, 0, c.local, 64)});
  c.say_copy("from a domain that is not there", {c.from(c.writable, 0, c.local, 64, bad_domain)});
  c.say_copy("the second of three is bad",
             {c.from(c.writable, 0, c.local, 8), c.from(bad_reference, 0, c.local, 8),
              c.from(c.writable, 8, c.local, 8)});
  same(c.local, c.shared + 8, 8);
  c.say_copy("over the end of the granted page", {c.from(c.writable, 4000, c.local, 97)});
  c.say_copy("to over the end of the granted page", {c.to(c.writable, 4000, c.local, 97)});
  c.say_copy("the second of two is over the end",
             {c.from(c.writable, 0, c.local, 8), c.from(c.writable, 4000, c.local, 97)});
  c.say_copy("no bytes", {c.from(c.writable, 0, c.local, 0)});
  c.say_copy("no bytes of a bad reference", {c.from(bad_reference, 0, c.local, 0)});
  c.say_copy("nothing", {});
  std::vector<Segment> many;
  for (uint16_t i = 0; i < 40; ++i)
    many.push_back(c.from(c.writable, static_cast<uint16_t>(i * 100), c.local + i * 100, 100));
  c.say_copy("forty, more than a hypercall takes", many);
  same(c.local, c.shared, 4000);
  many[20].source.foreign.ref = bad_reference;
  many[39].source.foreign.ref = bad_reference;
  c.say_copy("forty, two of them bad", many);
  xengntshr_unshare(c.sharing, c.shared, 1);
  c.say_copy("from a reference that has ended", {c.from(c.writable, 0, c.local, 64)});
}

}  // namespace conformance
