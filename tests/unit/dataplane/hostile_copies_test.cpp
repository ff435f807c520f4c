// What a hostile guest does to the copies of its frames: it changes slots while they are read,
// takes pages back in the middle of a copy, names others' pages, makes the hypervisor refuse. Each
// slot that was taken is answered once, nobody else notices. protocol 3.3: H04, H16 to H18, H27,
// H33, H41.
#include <errno.h>

#include <atomic>
#include <thread>

#include "tests/unit/support/two_vifs.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t absent = 4'000'000;
constexpr uint16_t first_flipped = 900;

// One word of a slot, written as a guest's other cpu would.
void set_word(void* slot, uint32_t word, uint32_t value) {
  std::atomic_ref(static_cast<uint32_t*>(slot)[word]).store(value, std::memory_order_relaxed);
}

// Writes one slot after the other over and over: offset and flags, size. Ids stay, and so does the
// word of the reference, where the answer comes (fetch_test changes that, too).
class Flipper {
 public:
  Flipper(TestGuest& guest, uint32_t first, uint32_t count, uint32_t seed)
      : thread_([this, &guest, first, count, seed] {
          constexpr uint32_t offsets[] = {0, 1, 4095, 4096, 0xffff};
          constexpr uint32_t flags[] = {0, 0, 0, NETTXF_csum_blank, 0xffff & ~NETTXF_extra_info};
          constexpr uint32_t sizes[] = {60, 60, 0, 13, 4096, 4097, 0xffff};
          for (uint32_t i = seed; !stopped_; i += 7) {
            auto& slot = guest.from_guest.slot(first + i % count).request;
            set_word(&slot, 1, offsets[i / 2 % 5] | flags[i / 5 % 5] << 16);
            set_word(&slot, 2, (first_flipped + i % count) | sizes[i % 7] << 16);
            ++flips_;
          }
        }) {
    while (flips_ < 1'000) std::this_thread::yield();  // it is at it
  }
  ~Flipper() {
    stopped_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stopped_ = false;
  std::atomic<uint32_t> flips_ = 0;
  std::thread thread_;
};

struct Reference {
  const char* name;
  uint32_t reference;
  QueueCounter from_guest;
  bool revoked_in_copy = false;
};

const Reference bad_references[] = {
    {"reserved", 0, QueueCounter::from_guest_drop_bad_reference_frames},
    {"reserved", 7, QueueCounter::from_guest_drop_bad_reference_frames},
    {"not granted", absent, QueueCounter::from_guest_drop_copy_failed_frames},
    {"another domain's", absent + 1, QueueCounter::from_guest_drop_copy_failed_frames},
    {"revoked meanwhile", absent + 2, QueueCounter::from_guest_drop_copy_failed_frames, true}};

// The liar's domain is 7 or 8; nobody's is 9.
void grant_for(const Reference& bad, TestGuest& liar, TestGuest& honest, Page& page) {
  xen().grant(honest.domain, absent + 1, page.bytes);
  if (!bad.revoked_in_copy) return;
  xen().grant(liar.domain, bad.reference, page.bytes);
  xen().during_copy = [&bad, &liar] { xen().revoke(liar.domain, bad.reference); };
}

// Ids and statuses of answers that nobody consumed.
std::vector<std::pair<int, int>> answers_to_guest(TestGuest& guest) {
  std::vector<std::pair<int, int>> all;
  for (uint32_t i = guest.to_guest.consumed(); i != guest.to_guest.rsp_prod(); ++i)
    all.emplace_back(guest.to_guest.slot(i).response.id, guest.to_guest.slot(i).response.status);
  return all;
}

void check_not_quarantined(TwoVifs& host) {
  host.read_reports();
  CHECK(host.quarantines.empty());
  CHECK(xen().impossible_copies == 0);
}

}  // namespace

TEST_CASE("hostile_h04_slots_that_change_while_they_are_read_are_answered_once_as_they_were_read") {
  uint32_t dropped = 0, quarantined = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    INFO("seed " << seed);
    TwoVifs host(seed % 2 == 0, UINT32_MAX - 9);
    constexpr uint16_t count = 20;
    const uint32_t first = host.liar.from_guest.produced();
    for (uint16_t i = 0; i < count; ++i) host.liar.put_slot(uint16_t(first_flipped + i), 60);
    const Frames of_honest = host.put_frames(host.honest, 0, 3);
    {
      const Flipper flipper(host.liar, first, count, seed);
      host.liar.from_guest.push();
      host.turn(1);
    }
    host.turn(1);
    CHECK(xen().impossible_copies == 0);
    CHECK(TwoVifs::of(host.honest, host.ports[0]->sent_bytes()) == of_honest);
    check_all_okay(host.honest.answers(), 3);
    host.read_reports();
    CHECK(host.quarantines.size() <= 1);
    const auto answers = host.liar.answers();
    // A lie was the end: what came before it is answered, and it is not.
    if (host.quarantines.empty()) CHECK(answers.size() == count);
    CHECK(host.liar.queue->quarantined == !host.quarantines.empty());
    for (uint16_t i = 0; i < answers.size(); ++i) {
      CHECK(answers[i].id == first_flipped + i);
      CHECK((answers[i].status == NETIF_RSP_OKAY || answers[i].status == NETIF_RSP_ERROR));
      dropped += answers[i].status == NETIF_RSP_ERROR;
    }
    quarantined += uint32_t(host.quarantines.size());
  }
  CHECK(dropped + quarantined > 0);  // something was seen of it
}

TEST_CASE("hostile_h16_a_page_that_cannot_be_read_is_an_error_of_its_frame_in_every_slot_of_it") {
  for (const Reference& bad : bad_references)
    for (const uint32_t place : {0u, 1u, 2u}) {
      INFO(bad.name << " in slot " << place);
      TwoVifs host(place % 2 == 0, UINT32_MAX - 3);
      Page page;
      grant_for(bad, host.liar, host.honest, page);
      Frames of_liar = host.put_frames(host.liar, 0, 2);
      host.liar.put_chain(host.frame(elsewhere, host.liar, 300), {100, 100, 100}, 2);
      host.liar.from_guest.slot(host.liar.from_guest.produced() - 3 + place).request.gref =
          bad.reference;
      const Frames behind = host.put_frames(host.liar, 5, 2);
      of_liar.insert(of_liar.end(), behind.begin(), behind.end());
      const Frames of_honest = host.put_frames(host.honest, 0, 3);
      host.turn(2);
      xen().during_copy = nullptr;
      const Frames sent = host.ports[0]->sent_bytes();
      CHECK(TwoVifs::of(host.liar, sent) == of_liar);
      CHECK(TwoVifs::of(host.honest, sent) == of_honest);
      check_all_okay(host.honest.answers(), 3);
      const auto answers = host.liar.answers();
      REQUIRE(answers.size() == 7);
      for (int i = 0; i < 7; ++i) {
        CHECK(answers[i].id == i);
        CHECK(answers[i].status == (i >= 2 && i < 5 ? NETIF_RSP_ERROR : NETIF_RSP_OKAY));
      }
      CHECK(host.liar.count(bad.from_guest) == 1);
      check_not_quarantined(host);
    }
}

TEST_CASE("hostile_h16_a_buffer_that_cannot_be_written_is_an_error_of_the_frame_it_was_for") {
  std::vector<Reference> all(std::begin(bad_references), std::end(bad_references));
  all.push_back({"read-only", absent + 3, QueueCounter::from_guest_drop_copy_failed_frames});
  for (const Reference& bad : all) {
    INFO(bad.name << " " << bad.reference);
    TwoVifs host(true, UINT32_MAX - 10);
    Page page;
    grant_for(bad, host.liar, host.honest, page);
    xen().grant(host.liar.domain, absent + 3, page.bytes, true);
    host.liar.to_guest.put({.id = 500, .pad = 0, .gref = bad.reference});
    host.liar.post_buffers(1, 600);  // behind ten good ones
    for (int i = 0; i < 12; ++i)
      host.ports[0]->feed(make_frame(host.liar.settings.mac, elsewhere, 100));
    for (int i = 0; i < 10; ++i)
      host.ports[0]->feed(make_frame(host.honest.settings.mac, elsewhere, 100));
    host.turn();
    xen().during_copy = nullptr;
    const auto answers = answers_to_guest(host.liar);
    REQUIRE(answers.size() == 12);
    for (int i = 0; i < 12; ++i) {
      CHECK(answers[i].first == (i < 10 ? i : i == 10 ? 500 : 600));
      CHECK(answers[i].second == (i == 10 ? NETIF_RSP_ERROR : 100));
    }
    CHECK(host.liar.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
    CHECK(Bytes(page.bytes, page.bytes + sizeof page.bytes) == Bytes(sizeof page.bytes));
    CHECK(host.delivered(host.honest).size() == 10);
    check_not_quarantined(host);
  }
}

TEST_CASE("hostile_h17_one_operation_of_64_fails_and_costs_its_frame_alone_both_ways") {
  for (const uint32_t failing : {0u, 15u, 16u, 31u, 32u, 63u}) {
    INFO("operation " << failing);
    TwoVifs host(true, 0);
    host.put_frames(host.liar, 0, 32);
    host.put_frames(host.honest, 0, 32);
    xen().failing_operations = {failing};
    host.turn();
    CHECK(xen().operations_per_call == std::vector<uint32_t>{64});
    host.turn();
    uint32_t position = 0;
    for (TestGuest* guest : {&host.liar, &host.honest}) {
      const auto answers = guest->answers();
      REQUIRE(answers.size() == 32);
      const bool its = failing / 32 == position / 32;
      for (const auto& answer : answers)
        CHECK(answer.status == (position++ == failing ? NETIF_RSP_ERROR : NETIF_RSP_OKAY));
      CHECK(guest->count(QueueCounter::from_guest_drop_copy_failed_frames) == its);
    }
    CHECK(host.ports[0]->sent_bytes().size() == 63);

    for (TestGuest* guest : {&host.liar, &host.honest}) {
      guest->post_buffers(22, 10);
      for (int i = 0; i < 32; ++i)
        host.ports[0]->feed(make_frame(guest->settings.mac, elsewhere, 60));
    }
    xen().failing_operations = {xen().copy_operations + failing};
    host.turn(2);
    position = 0;
    for (TestGuest* guest : {&host.liar, &host.honest}) {
      const auto answers = answers_to_guest(*guest);
      REQUIRE(answers.size() == 32);
      const bool its = failing / 32 == position / 32;
      for (const auto& [id, status] : answers)
        CHECK(status == (position++ == failing ? NETIF_RSP_ERROR : 60));
      CHECK(guest->count(QueueCounter::to_guest_drop_copy_failed_frames) == its);
    }
    check_not_quarantined(host);
  }
}

TEST_CASE("hostile_h18_a_grant_call_that_fails_whole_costs_only_the_vif_at_fault_its_frames") {
  for (const int error : {EINVAL, EFAULT, ENOMEM})
    for (const bool liar_first : {true, false}) {
      INFO(strerror(error));
      TwoVifs host(liar_first, 0);
      xen().failing_domain = host.liar.domain;
      xen().failing_errno = error;
      for (TestGuest* guest : {&host.liar, &host.honest}) {
        host.put_frames(*guest, 0, 3);
        host.ports[0]->feed(make_frame(guest->settings.mac, elsewhere, 60));
      }
      host.turn(2);
      // Statuses say okay: no segment of the call is believed.
      CHECK(TwoVifs::of(host.liar, host.ports[0]->sent_bytes()).empty());
      check_all_okay(host.honest.answers(), 3);
      const auto answers = host.liar.answers();
      REQUIRE(answers.size() == 3);
      for (const auto& answer : answers) CHECK(answer.status == NETIF_RSP_ERROR);
      CHECK(host.liar.count(QueueCounter::from_guest_drop_copy_failed_frames) == 3);
      CHECK(host.delivered(host.liar).empty());
      CHECK(host.liar.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
      CHECK(host.delivered(host.honest).size() == 1);
      check_not_quarantined(host);
    }
}

TEST_CASE(
    "hostile_h27_a_buffer_whose_slot_changes_after_the_look_is_filled_and_answered_as_it_was") {
  TwoVifs host(true, UINT32_MAX - 4);
  const uint32_t first = host.liar.to_guest.consumed();
  xen().during_copy = [&] {
    for (uint32_t i = 0; i < 10; ++i)
      host.liar.to_guest.slot(first + i).request = {.id = 99, .pad = 0, .gref = absent};
  };
  Frames frames;
  for (uint8_t i = 0; i < 5; ++i) {
    frames.push_back(make_frame(host.liar.settings.mac, elsewhere, 100, i));
    host.ports[0]->feed(frames.back());
  }
  host.turn();
  xen().during_copy = nullptr;
  const auto answers = answers_to_guest(host.liar);
  REQUIRE(answers.size() == 5);
  for (int i = 0; i < 5; ++i) CHECK(answers[i] == std::pair(i, 100));
  CHECK(host.delivered(host.liar) == frames);  // of the buffers that were posted first
  check_not_quarantined(host);
}

TEST_CASE("hostile_h33_without_buffers_a_frame_is_answered_whole_or_left_in_the_ring") {
  for (uint32_t left = 0; left <= 14; ++left) {
    INFO(left << " buffers");
    TwoVifs host(true, UINT32_MAX - 4);
    host.liar.settings.frame_bytes_max = 9000;
    host.ports[0]->queue.can.frame_bytes_max = 9000;
    Frames frames;
    for (uint16_t i = 0; i < 4; ++i) {
      frames.push_back(host.frame(elsewhere, host.liar, 8'000, uint8_t(i)));
      host.liar.put_chain(frames.back(), {3'000, 3'000, 2'000}, uint16_t(3 * i));
    }
    host.liar.from_guest.push();
    host.leave_buffers(left);
    host.turn(2);
    const auto early = host.liar.answers();
    CHECK(early.size() % 3 == 0);
    CHECK(early.size() == 3 * (left / 4));  // a frame takes four
    CHECK(host.ports[0]->sent_bytes().size() == early.size() / 3);
    CHECK(host.liar.queue->from_guest.unanswered() == 0);
    host.give_buffers_back();
    host.turn(3);
    auto answers = host.liar.answers();
    answers.insert(answers.begin(), early.begin(), early.end());
    check_all_okay(answers, 12);
    const Frames late = host.ports[0]->sent_bytes();
    CHECK(late == Frames(frames.begin() + early.size() / 3, frames.end()));
    check_not_quarantined(host);
  }
}

TEST_CASE(
    "hostile_h41_answers_are_written_once_the_copy_is_known_what_was_not_taken_is_untouched") {
  for (uint32_t bad = 0; bad < 3; ++bad) {
    INFO("slot " << bad);
    TestHost host;
    TestGuest& guest = host.add_guest();
    guest.settings.frame_bytes_max = 9014;
    for (uint16_t i = 0; i < 3; ++i) guest.post_buffers(1, i, i == bad);
    guest.post_buffers(3, 3);
    const Bytes posted = guest.to_guest_ring_bytes();
    uint32_t copies = 0;
    xen().during_copy = [&] {
      ++copies;
      CHECK(guest.to_guest_ring_bytes() == posted);
    };
    host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 9'000), 2'000);
    host.turn();
    xen().during_copy = nullptr;
    CHECK(copies == 1);
    const auto answers = answers_to_guest(guest);
    REQUIRE(answers.size() == 3);
    for (int i = 0; i < 3; ++i) CHECK(answers[i] == std::pair(i, int{NETIF_RSP_ERROR}));
    for (uint32_t i = 3; i < 6; ++i) {
      CHECK(guest.to_guest.slot(i).request.id == i);
      CHECK(guest.to_guest.slot(i).request.gref == TestGuest::first_buffer_reference + i);
    }
    CHECK(guest.count(QueueCounter::to_guest_drop_copy_failed_frames) == 1);
    CHECK_FALSE(guest.queue->quarantined);
    const Bytes next = make_frame(guest.settings.mac, elsewhere, 60);
    host.ports[0]->feed(next);
    host.turn();
    CHECK(answers_to_guest(guest).back() == std::pair(3, 60));
    CHECK(host.delivered(guest) == Frames{next});
  }
}
