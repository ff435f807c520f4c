// What a guest may do wrong and keep its vif, as some do: those frames end by name, every slot of
// them is answered once, by its id; frames before and behind them, and another vif's of the same
// turn, arrive unchanged. protocol 3.1: rows 7, 9, 11 to 13, 16, 28.
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/two_vifs.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr auto none = QueueCounter::count_;  // no drop: an honest guest may do it too
constexpr uint16_t first_id = 900;

struct Slip {
  const char* name;
  QueueCounter drop;
  uint16_t slots;                                  // ids from first_id on, all of one status
  Frames (*make)(TestGuest&, const Bytes& frame);  // the frames that arrive all the same
};

// A frame over `further` slots more than the first, one byte in each of those.
Frames chain(TestGuest& guest, const Bytes& frame, uint16_t further, uint16_t size_wrong_by = 0) {
  std::vector<uint16_t> sizes(further + 1u, 1);
  sizes[0] = static_cast<uint16_t>(frame.size() - further);
  guest.put_chain(frame, sizes, first_id);
  guest.from_guest.slot(guest.from_guest.produced() - further - 1).request.size -= size_wrong_by;
  return {frame};
}
Frames nothing(const Frames&) {
  return {};
}
Frames one_slot(TestGuest& guest, uint16_t size, uint32_t reference, uint16_t flags = 0) {
  guest.put_slot(first_id, size, flags, 0, reference);
  return {};
}

const Slip slips[] = {
    {"row 7: 18 further slots", none, 19,
     [](TestGuest& g, const Bytes& f) { return chain(g, f, 18); }},
    {"row 7: 19 further slots", QueueCounter::from_guest_drop_too_many_slots_frames, 20,
     [](TestGuest& g, const Bytes& f) { return nothing(chain(g, f, 19)); }},
    {"row 7: 20 further slots", QueueCounter::from_guest_drop_too_many_slots_frames, 21,
     [](TestGuest& g, const Bytes& f) { return nothing(chain(g, f, 20)); }},
    {"row 9: later slots hold more than the frame",
     QueueCounter::from_guest_drop_size_mismatch_frames, 3,
     [](TestGuest& g, const Bytes& f) {
       return nothing(chain(g, f, 2, static_cast<uint16_t>(f.size() - 1)));
     }},
    {"row 11: a first fragment of 13 bytes", QueueCounter::from_guest_drop_bad_size_frames, 3,
     [](TestGuest& g, const Bytes& f) {
       return nothing(chain(g, f, 2, static_cast<uint16_t>(f.size() - 2 - 13)));
     }},
    {"row 11: a frame of no bytes", QueueCounter::from_guest_drop_bad_size_frames, 1,
     [](TestGuest& g, const Bytes&) { return one_slot(g, 0, g.first_data_reference); }},
    {"row 12: fragments of no bytes, of no page either", none, 3,
     [](TestGuest& g, const Bytes& f) -> Frames {
       g.put_frame(f, first_id, NETTXF_more_data);
       g.put_slot(first_id + 1, 0, NETTXF_more_data, 0, 0);
       g.put_slot(first_id + 2, 0, 0, 0, 4'000'000);
       return {f};
     }},
    {"row 13: a reference of nothing", QueueCounter::from_guest_drop_copy_failed_frames, 1,
     [](TestGuest& g, const Bytes&) { return one_slot(g, 60, 4'000'000); }},
    {"row 13: a reserved reference", QueueCounter::from_guest_drop_bad_reference_frames, 1,
     [](TestGuest& g, const Bytes&) { return one_slot(g, 60, 7); }},
    {"row 13: the last of three pages is not granted",
     QueueCounter::from_guest_drop_copy_failed_frames, 3,
     [](TestGuest& g, const Bytes& f) {
       chain(g, f, 2);
       g.from_guest.slot(g.from_guest.produced() - 1).request.gref = 4'000'000;
       return Frames{};
     }},
    {"row 16: a checksum wanted where there is none",
     QueueCounter::from_guest_drop_bad_headers_frames, 1,
     [](TestGuest& g, const Bytes& f) {
       g.put_frame(f, first_id, NETTXF_csum_blank);
       return Frames{};
     }},
    {"row 16: a checksum wanted behind the packet's end",
     QueueCounter::from_guest_drop_bad_headers_frames, 1,
     [](TestGuest& g, const Bytes&) {
       Packet packet = make_packet({.udp = true});
       packet.bytes.resize(packet.l4 + 4);
       g.put_frame(packet.bytes, first_id, NETTXF_csum_blank);
       return Frames{};
     }},
};

void check_answers(TestGuest& liar, const Slip& slip) {
  const auto answers = liar.answers();
  REQUIRE(answers.size() == 3u + slip.slots + 2);
  for (uint16_t i = 0; i < answers.size(); ++i) {
    const bool of_slip = i >= 3 && i < 3 + slip.slots;
    const int id = i < 3 ? i : of_slip ? first_id + i - 3 : i - slip.slots;
    INFO("answer " << i);
    CHECK(answers[i].id == id);
    CHECK(answers[i].status == (of_slip && slip.drop != none ? NETIF_RSP_ERROR : NETIF_RSP_OKAY));
  }
}

void make_slip(const Slip& slip, bool liar_first, uint32_t start) {
  TwoVifs host(liar_first, start);
  Frames of_liar = host.put_frames(host.liar, 0, 3);
  const Frames late = slip.make(host.liar, host.frame(elsewhere, host.liar, 300, 77));
  of_liar.insert(of_liar.end(), late.begin(), late.end());
  const Frames behind = host.put_frames(host.liar, 3, 2);
  of_liar.insert(of_liar.end(), behind.begin(), behind.end());
  const Frames of_honest = host.put_frames(host.honest, 0, 3);
  host.turn();  // all of it in one turn

  const Frames sent = host.ports[0]->sent_bytes();
  CHECK(TwoVifs::of(host.honest, sent) == of_honest);
  CHECK(TwoVifs::of(host.liar, sent) == of_liar);
  CHECK(sent.size() == of_honest.size() + of_liar.size());
  host.turn();
  check_all_okay(host.honest.answers(), 3);
  check_answers(host.liar, slip);
  if (slip.drop != none) CHECK(host.liar.count(slip.drop) == 1);
  CHECK(host.liar.count(QueueCounter::from_guest_frames) == of_liar.size());
  host.read_reports();
  CHECK(host.quarantines.empty());
  CHECK_FALSE(host.liar.queue->quarantined);
}

}  // namespace

TEST_CASE("hostile: what is tolerated costs that frame alone, every slot is answered by its id") {
  for (const Slip& slip : slips) {
    for (const bool liar_first : {true, false}) {
      for (const uint32_t start : {0u, UINT32_MAX - 3}) {
        INFO(slip.name << ", liar first " << liar_first << ", start " << start);
        make_slip(slip, liar_first, start);
      }
    }
  }
}

TEST_CASE(
    "hostile: buffers that may not be written cost the frames that they were for") {  // row 28
  for (const bool liar_first : {true, false}) {
    TwoVifs host(liar_first, UINT32_MAX - 10);
    host.liar.post_buffers(1, 500, true);
    host.liar.post_buffers(3, 600);
    const auto from_port = [](const TestGuest& guest, uint8_t seed) {
      return make_frame(guest.settings.mac, elsewhere, 100, seed);
    };
    Frames to_liar, to_honest;
    for (uint8_t seed = 0; seed < 12; ++seed) {
      host.ports[0]->feed(from_port(host.liar, seed));
      if (seed != 10) to_liar.push_back(from_port(host.liar, seed));  // ten good buffers, a bad one
      if (seed >= 10) continue;
      host.ports[0]->feed(from_port(host.honest, seed));
      to_honest.push_back(from_port(host.honest, seed));
    }
    host.turn();
    CHECK(host.delivered(host.honest) == to_honest);
    const uint32_t first = host.liar.to_guest.consumed();
    const auto answers = [&] {  // looked at, not consumed
      std::vector<netif::ToGuestResponse> all;
      for (uint32_t i = first; i != host.liar.to_guest.rsp_prod(); ++i)
        all.push_back(host.liar.to_guest.slot(i).response);
      return all;
    }();
    REQUIRE(answers.size() == 12);
    for (uint16_t i = 0; i < 12; ++i) {
      CHECK(answers[i].id == (i < 10 ? i : i == 10 ? 500 : 600));
      CHECK(answers[i].status == (i == 10 ? NETIF_RSP_ERROR : 100));
    }
    CHECK(host.delivered(host.liar) == to_liar);
    CHECK(host.liar.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
    CHECK_FALSE(host.liar.queue->quarantined);
  }
}
