// Each check of protocol 3.1 on the from_guest ring at its exact edge: what still passes, what is
// dropped with an answer, what quarantines.
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// The violation that the guest's slots are, if they are one.
std::optional<Violation> violation_of(OneGuest& g) {
  g.decode_pushed();
  return g.batch.runs[0].violation;
}

// The verdict of the only frame that the guest's slots make.
QueueCounter verdict_of(OneGuest& g) {
  g.decode_pushed();
  REQUIRE_FALSE(g.batch.runs[0].violation);
  REQUIRE(g.batch.frame_count == 1);
  return g.batch.frames[0].verdict;
}

// A frame of `further` slots of one byte behind the first.
void put_slots(OneGuest& g, uint32_t further) {
  g.guest.put_slot(1, static_cast<uint16_t>(60 + further), further ? NETTXF_more_data : 0);
  for (uint32_t i = 1; i <= further; ++i)
    g.guest.put_slot(static_cast<uint16_t>(1 + i), 1, i < further ? NETTXF_more_data : 0);
}

void put_extras(OneGuest& g, uint32_t count, uint8_t type) {
  g.guest.put_slot(1, 60, NETTXF_extra_info);
  for (uint32_t i = 1; i <= count; ++i)
    g.guest.put_extra(type, i < count ? XEN_NETIF_EXTRA_FLAG_MORE : 0);
}

constexpr auto good = QueueCounter::from_guest_frames;

}  // namespace

TEST_CASE("limits: 18 further slots pass, 19 and 20 are dropped, 21 are a violation") {  // H09
  for (uint32_t further : {0u, 1u, 17u, 18u, 19u, 20u}) {
    OneGuest g;
    put_slots(g, further);
    CHECK(verdict_of(g) ==
          (further <= 18 ? good : QueueCounter::from_guest_drop_too_many_slots_frames));
    CHECK(g.batch.frames[0].slot_count == 1 + further);
  }
  for (uint32_t further : {21u, 22u, 40u}) {
    OneGuest g;
    put_slots(g, further);
    CHECK(violation_of(g) == Violation::too_many_slots);
    CHECK(g.batch.frame_count == 0);
  }
}

TEST_CASE("limits: every slot of a frame of 19 or 20 further slots is an ERROR") {  // row 7
  for (uint32_t further : {19u, 20u}) {
    OneGuest g;
    put_slots(g, further);
    g.send();
    const auto answers = g.guest.answers();
    REQUIRE(answers.size() == 1 + further);
    for (size_t i = 0; i < answers.size(); ++i) {
      CHECK(answers[i].id == i + 1);
      CHECK(answers[i].status == NETIF_RSP_ERROR);
    }
    CHECK(g.guest.count(QueueCounter::from_guest_drop_too_many_slots_frames) == 1);
    CHECK(FakeXen::instance().copy_operations == 0);
  }
}

TEST_CASE("limits: an offset and size of 4096 pass, 4097 are a violation") {  // H11, row 10
  const struct {
    uint16_t offset, size;
    bool passes;
  } cases[] = {{4082, 14, true},    {4083, 14, false},  {0, 4096, true},       {1, 4096, false},
               {0xffff, 14, false}, {0, 0xffff, false}, {4095, 0xffff, false}, {2582, 1514, true}};
  for (const auto& c : cases) {
    OneGuest g;
    g.guest.settings.frame_bytes_max = 65535;
    g.guest.put_slot(1, c.size, 0, c.offset);
    INFO("offset " << c.offset << " size " << c.size);
    if (c.passes)
      CHECK(verdict_of(g) == good);
    else
      CHECK(violation_of(g) == Violation::crosses_page);
  }
}

TEST_CASE("limits: a further slot may reach the end of its page and not beyond") {
  for (const uint16_t offset : {uint16_t{4056}, uint16_t{4057}}) {
    OneGuest g;
    g.guest.put_slot(1, 100, NETTXF_more_data);
    g.guest.put_slot(2, 40, 0, offset);
    if (offset == 4056)
      CHECK(verdict_of(g) == good);
    else
      CHECK(violation_of(g) == Violation::crosses_page);
  }
}

TEST_CASE("limits: the first slot's bound is that of its fragment, not of the frame") {
  OneGuest g;
  g.guest.settings.frame_bytes_max = 9000;
  g.guest.put_slot(1, 8000, NETTXF_more_data, 96);  // 4000 bytes at 96
  g.guest.put_slot(2, 4000);
  CHECK(verdict_of(g) == good);
  OneGuest beyond;
  beyond.guest.settings.frame_bytes_max = 9000;
  beyond.guest.put_slot(1, 8001, NETTXF_more_data, 96);
  beyond.guest.put_slot(2, 4000);
  CHECK(violation_of(beyond) == Violation::crosses_page);
}

TEST_CASE("limits: a first fragment of 13 bytes is dropped, of 14 passes") {  // H12, row 11
  for (uint16_t size = 0; size <= 14; ++size) {
    OneGuest g;
    g.guest.put_slot(1, size);
    CHECK(verdict_of(g) == (size < 14 ? QueueCounter::from_guest_drop_bad_size_frames : good));
  }
  for (const uint16_t later : {uint16_t{86}, uint16_t{87}}) {  // 14 and 13 left of 100
    OneGuest g;
    g.guest.put_slot(1, 100, NETTXF_more_data);
    g.guest.put_slot(2, later);
    CHECK(verdict_of(g) == (later == 86 ? good : QueueCounter::from_guest_drop_bad_size_frames));
  }
}

TEST_CASE("limits: later slots that hold the whole frame leave a first fragment of zero") {  // H10
  OneGuest g;
  g.guest.put_slot(1, 100, NETTXF_more_data);
  g.guest.put_slot(2, 100);
  CHECK(verdict_of(g) == QueueCounter::from_guest_drop_bad_size_frames);
}

TEST_CASE("limits: later slots that hold more than the frame are a drop") {  // H10, row 9
  OneGuest g;
  g.guest.put_slot(1, 100, NETTXF_more_data);
  g.guest.put_slot(2, 60, NETTXF_more_data);
  g.guest.put_slot(3, 41);
  CHECK(verdict_of(g) == QueueCounter::from_guest_drop_size_mismatch_frames);
}

TEST_CASE("limits: a total that overflowed is a drop, not a violation") {  // row 9
  OneGuest g;
  g.guest.put_slot(1, 20, NETTXF_more_data);  // 65,556 bytes in 16 bits
  for (int i = 0; i < 15; ++i) g.guest.put_slot(2, 4096, NETTXF_more_data);
  g.guest.put_slot(3, 4096);
  CHECK(verdict_of(g) == QueueCounter::from_guest_drop_size_mismatch_frames);
}

TEST_CASE("limits: a frame that is dropped anyway can still be a violation") {
  OneGuest g;
  g.guest.put_slot(1, 20, NETTXF_more_data);
  g.guest.put_slot(2, 30, NETTXF_more_data);
  g.guest.put_slot(3, 30, 0, 4090);
  CHECK(violation_of(g) == Violation::crosses_page);
}

TEST_CASE("limits: the first slot of a dropped frame is not judged any more") {
  OneGuest g;
  g.guest.put_slot(1, 20, NETTXF_more_data, 4095);
  g.guest.put_slot(2, 30);
  CHECK(verdict_of(g) == QueueCounter::from_guest_drop_size_mismatch_frames);
}

TEST_CASE("limits: the first reason to drop is the one that is counted") {
  OneGuest many;
  many.guest.put_slot(1, 60, NETTXF_more_data);
  many.guest.put_slot(2, 61, NETTXF_more_data, 0, 7);
  for (int i = 0; i < 17; ++i) many.guest.put_slot(3, 1, NETTXF_more_data);
  many.guest.put_slot(4, 1);
  CHECK(verdict_of(many) == QueueCounter::from_guest_drop_size_mismatch_frames);
}

TEST_CASE("limits: references below 8 are dropped, 8 is asked of the hypervisor") {
  for (uint32_t reference : {0u, 1u, 7u, 8u}) {
    const auto expected = reference < 8 ? QueueCounter::from_guest_drop_bad_reference_frames : good;
    OneGuest first;
    first.guest.put_slot(1, 60, 0, 0, reference);
    CHECK(verdict_of(first) == expected);
    OneGuest later;
    later.guest.put_slot(1, 60, NETTXF_more_data);
    later.guest.put_slot(2, 10, 0, 0, reference);
    CHECK(verdict_of(later) == expected);
    OneGuest empty;  // nothing is copied by it
    empty.guest.put_slot(1, 60, NETTXF_more_data);
    empty.guest.put_slot(2, 0, 0, 0, reference);
    CHECK(verdict_of(empty) == good);
  }
}

TEST_CASE("limits: extra info of type 0, 5, 6 and 255 is a violation") {  // H06, row 4
  for (const uint8_t type : {0, 5, 6, 255}) {
    OneGuest g;
    put_extras(g, 1, type);
    CHECK(violation_of(g) == Violation::bad_extra_type);
  }
}

TEST_CASE("limits: extra info announced behind the last request is a violation") {  // H05, row 3
  OneGuest g;
  g.guest.put_slot(1, 60, NETTXF_extra_info);
  CHECK(violation_of(g) == Violation::missing_extra_info);
  OneGuest chain;
  chain.guest.put_slot(1, 60, NETTXF_extra_info);
  chain.guest.put_extra(XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_EXTRA_FLAG_MORE);
  CHECK(violation_of(chain) == Violation::missing_extra_info);
}

TEST_CASE("limits: eight extra-info slots pass, a ninth is a violation") {  // H06
  OneGuest eight;
  put_extras(eight, 8, XEN_NETIF_EXTRA_TYPE_HASH);
  CHECK(verdict_of(eight) == good);
  CHECK(eight.batch.frames[0].extra_count == 8);
  OneGuest nine;
  put_extras(nine, 9, XEN_NETIF_EXTRA_TYPE_HASH);
  CHECK(violation_of(nine) == Violation::too_many_extras);
  OneGuest endless;
  put_extras(endless, 255, XEN_NETIF_EXTRA_TYPE_HASH);
  CHECK(violation_of(endless) == Violation::too_many_extras);
}

TEST_CASE("limits: segmentation of size 0 or an unknown type is a violation") {  // H07, row 5
  const struct {
    uint16_t size;
    uint8_t type;
  } bad[] = {{0, 1}, {0, 2}, {100, 0}, {100, 3}, {100, 255}};
  for (const auto& c : bad) {
    OneGuest g;
    g.guest.settings.gso_tcpv4_offered = g.guest.settings.gso_tcpv6_offered = true;
    g.guest.put_slot(1, 60, NETTXF_extra_info);
    g.guest.put_gso(c.size, c.type);
    CHECK(violation_of(g) == Violation::bad_gso);
  }
}

TEST_CASE("limits: zero-length slots are legal anywhere behind the first") {  // H13, row 12
  OneGuest g;
  const uint16_t sizes[] = {0, 20, 0, 0, 30, 0};
  g.guest.put_slot(1, 100, NETTXF_more_data);
  for (size_t i = 0; i < std::size(sizes); ++i)
    g.guest.put_slot(static_cast<uint16_t>(2 + i), sizes[i], i < 5 ? NETTXF_more_data : 0, 4096);
  g.guest.from_guest.slot(2).request.offset = 0;
  g.guest.from_guest.slot(5).request.offset = 0;
  CHECK(verdict_of(g) == good);
  CHECK(g.batch.frames[0].slot_count == 7);
}

TEST_CASE("limits: a zero-length slot beyond its page is a violation all the same") {
  OneGuest g;
  g.guest.put_slot(1, 100, NETTXF_more_data);
  g.guest.put_slot(2, 0, 0, 4097);
  CHECK(violation_of(g) == Violation::crosses_page);
}

TEST_CASE("limits: mtu + 14 with room for a tag passes, one more is dropped unseen") {
  for (uint16_t size : {uint16_t{1514}, uint16_t{1518}, uint16_t{1519}}) {
    OneGuest g;
    g.guest.put_slot(1, size);
    CHECK(verdict_of(g) == (size <= 1518 ? good : QueueCounter::from_guest_drop_too_long_frames));
  }
  OneGuest gso;  // segmentation is the exception
  gso.guest.settings.gso_tcpv4_offered = true;
  gso.guest.put_slot(1, 4000, NETTXF_extra_info);
  gso.guest.put_gso(1000);
  CHECK(verdict_of(gso) == good);
}

TEST_CASE("limits: one queue's turn is bounded in the segments that its frames become") {  // H34
  OneGuest g;
  g.guest.settings.gso_tcpv4_offered = true;
  const auto put = [&](uint16_t id, uint16_t mss) {
    g.guest.put_slot(id, 3000, NETTXF_extra_info);
    g.guest.put_gso(mss);
  };
  for (uint16_t id = 0; id < 3; ++id) put(id, 12);  // 250 segments each
  put(3, 1000);
  g.decode_pushed();
  CHECK(g.batch.frame_count == 2);
  CHECK(g.batch.runs[0].frame_count == 2);
  CHECK_FALSE(g.batch.runs[0].violation);
  g.send();  // the rest in the next turns
  g.settle();
  CHECK(g.statuses().size() == 8);

  // One that is too much by itself is taken all the same, alone.
  put(4, 1);
  put(5, 1);
  g.decode_pushed();
  CHECK(g.batch.frame_count == 1);
  g.send();
  g.settle();
  CHECK(g.statuses().size() == 4);
}

TEST_CASE("limits: as many segments as a turn may have are taken, one more waits") {  // H34
  for (const uint16_t bytes : {3000, 3001}) {
    OneGuest g;
    g.guest.settings.gso_tcpv4_offered = true;
    for (const auto& [size, mss] : {std::pair{3000, 12}, {3000, 12}, {int{bytes}, 250}}) {
      g.guest.put_slot(1, static_cast<uint16_t>(size), NETTXF_extra_info);
      g.guest.put_gso(static_cast<uint16_t>(mss));  // 250, 250, 12 or 13
    }
    g.decode_pushed();
    CHECK(g.batch.frame_count == (bytes == 3000 ? 3 : 2));
  }
}
