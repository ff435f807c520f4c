#include <catch2/catch.hpp>

#include "control/ctl/rates.hpp"
#include "control/ctl/text.hpp"

using namespace netback::ctl;

namespace {

Json stats(uint64_t time_ns, Json vif, Json port = {}, Json worker = {}) {
  vif["vif"] = "1.0";
  vif["domain"] = "web";
  vif["state"] = "connected";
  port["port"] = "p";
  worker["worker"] = 0;
  worker["cpu"] = 3;
  return {{"time_ns", time_ns},
          {"vifs", Json::array({vif})},
          {"ports", Json::array({port})},
          {"workers", Json::array({worker})}};
}

const Json empty = Json::object();

}  // namespace

TEST_CASE("rates_frames_and_megabits_are_per_second_of_the_daemon_s_clock") {
  const auto rates = rates_between(
      stats(1'000'000'000, {{"from_guest_frames", 100}, {"from_guest_bytes", 1000}}),
      stats(3'000'000'000, {{"from_guest_frames", 300}, {"from_guest_bytes", 2'001'000}}));
  CHECK(rates.seconds == 2);
  REQUIRE(rates.vifs.size() == 1);
  CHECK(rates.vifs[0].from_guest.frames == 100);
  CHECK(rates.vifs[0].from_guest.megabits == 8);
  CHECK(rates.vifs[0].to_guest.frames == 0);
}

TEST_CASE("rates_slots_per_copy_and_notifications_per_frame_are_of_what_happened_meanwhile") {
  const Json before = {{"to_guest_frames", 10},
                       {"to_guest_copy_calls", 5},
                       {"to_guest_copy_slots", 50},
                       {"to_guest_notifications", 10}};
  const Json after = {{"to_guest_frames", 110},
                      {"to_guest_copy_calls", 15},
                      {"to_guest_copy_slots", 250},
                      {"to_guest_notifications", 15}};
  const auto rates = rates_between(stats(0, before), stats(1'000'000'000, after));
  CHECK(rates.vifs[0].to_guest.slots_per_copy == 20);
  CHECK(rates.vifs[0].to_guest.notifications_per_frame == 0.05);
}

TEST_CASE("rates_drops_are_listed_by_reason_only_those_that_happened") {
  const auto rates = rates_between(stats(0, {{"from_guest_drop_port_full_frames", 1},
                                             {"from_guest_drop_bad_size_frames", 4},
                                             {"to_guest_drop_stalled_frames", 0}}),
                                   stats(2'000'000'000, {{"from_guest_drop_port_full_frames", 11},
                                                         {"from_guest_drop_bad_size_frames", 4},
                                                         {"to_guest_drop_stalled_frames", 2}}));
  using Drops = std::vector<std::pair<std::string, double>>;
  CHECK(rates.vifs[0].from_guest.drops == Drops{{"port_full", 5.0}});
  CHECK(rates.vifs[0].to_guest.drops == Drops{{"stalled", 1.0}});
}

TEST_CASE("rates_counters_that_went_back_and_new_vifs_count_from_zero") {
  auto rates = rates_between(stats(0, {{"from_guest_frames", 500}}),
                             stats(1'000'000'000, {{"from_guest_frames", 20}}));
  CHECK(rates.vifs[0].from_guest.frames == 20);
  Json without = stats(0, empty);
  without["vifs"] = Json::array();
  rates = rates_between(without, stats(1'000'000'000, {{"from_guest_frames", 20}}));
  CHECK(rates.vifs[0].from_guest.frames == 20);
}

TEST_CASE("rates_of_a_worker_its_busy_share_and_cycles_per_frame_both_ways") {
  const auto rates = rates_between(
      stats(0, {{"from_guest_frames", 0}, {"to_guest_frames", 0}}, empty,
            {{"worker_cycles", 1000}, {"worker_busy_cycles", 100}, {"worker_sleeps", 3}}),
      stats(1'000'000'000, {{"from_guest_frames", 6}, {"to_guest_frames", 4}}, empty,
            {{"worker_cycles", 3000}, {"worker_busy_cycles", 600}, {"worker_sleeps", 10}}));
  REQUIRE(rates.workers.size() == 1);
  CHECK(rates.workers[0].cpu == 3);
  CHECK(rates.workers[0].busy == 0.25);
  CHECK(rates.workers[0].cycles_per_frame == 50);
  CHECK(rates.workers[0].sleeps == 7);
}

TEST_CASE("rates_of_a_port_both_directions_and_frames_per_burst") {
  const auto rates =
      rates_between(stats(0, empty, empty), stats(1'000'000'000, empty,
                                                  {{"port_received_frames", 7},
                                                   {"port_received_bytes", 1'000'000},
                                                   {"port_sent_frames", 64},
                                                   {"port_sent_bytes", 500'000},
                                                   {"port_sent_bursts", 4}}));
  REQUIRE(rates.ports.size() == 1);
  CHECK(rates.ports[0].received_frames == 7);
  CHECK(rates.ports[0].received_megabits == 8);
  CHECK(rates.ports[0].sent_frames == 64);
  CHECK(rates.ports[0].sent_megabits == 4);
  CHECK(rates.ports[0].frames_per_burst == 16);
}

TEST_CASE("rates_two_answers_of_one_moment_divide_by_nothing") {
  const auto rates = rates_between(stats(5, empty), stats(5, {{"from_guest_frames", 20}}));
  CHECK(rates.vifs[0].from_guest.frames == 0);
  CHECK(rates.workers[0].busy == 0);
  CHECK(rates.workers[0].cycles_per_frame == 20 * 0);
}

TEST_CASE("rates_as_json_they_have_the_same_figures") {
  const Json json = rates_json(rates_between(
      stats(0, empty),
      stats(1'000'000'000, {{"from_guest_frames", 3}, {"from_guest_drop_port_full_frames", 2}})));
  CHECK(json["vifs"][0]["from_guest"]["frames_per_s"] == 3);
  CHECK(json["vifs"][0]["from_guest"]["drops_per_s"]["port_full"] == 2);
  CHECK(json["seconds"] == 1);
}

TEST_CASE("text_numbers_are_grouped_by_thousands") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(1999.6) == "2,000");
}

TEST_CASE("text_a_table_lines_words_up_left_and_numbers_right_without_trailing_spaces") {
  Table table({"NAME", "N"});
  table.row({"a", "7"});
  table.row({"longer", "1,234"});
  CHECK(table.text() ==
        "NAME        N\n"
        "a           7\n"
        "longer  1,234\n");
}

TEST_CASE("text_a_dash_among_numbers_and_an_empty_cell_do_not_turn_a_column") {
  Table table({"N"});
  table.row({"-"});
  table.row({""});
  table.row({"12"});
  CHECK(table.text() == " N\n -\n\n12\n");
}

TEST_CASE("text_what_a_guest_chose_cannot_steer_the_terminal") {
  Table table({"NAME"});
  table.row({"a\x1b[2J\n"});
  CHECK(table.text() == "NAME\na.[2J.\n");
}

TEST_CASE("text_columns_count_characters_not_bytes") {
  Table table({"NAME", "X"});
  table.row({"\xc3\xa9t\xc3\xa9", "y"});
  table.row({"four", "z"});
  CHECK(table.text() == "NAME  X\n\xc3\xa9t\xc3\xa9   y\nfour  z\n");
}

TEST_CASE("text_a_list_without_vifs_says_so") {
  CHECK(list_text({{"vifs", Json::array()}}) == "no vifs\n");
}

TEST_CASE("text_a_list_shows_each_vif_with_its_error") {
  const Json vif = {{"vif", "3.0"}, {"domain", ""},       {"mac", "00:16:3e:00:00:01"},
                    {"port", "p"},  {"state", "refused"}, {"error", "no port"}};
  const std::string text = list_text({{"vifs", Json::array({vif})}});
  CHECK(text.find("3.0  -       00:16:3e:00:00:01  p     -    refused  no port\n") !=
        std::string::npos);
}

TEST_CASE("text_counters_of_zero_are_left_out_unless_asked_for") {
  const Json json = stats(0, {{"from_guest_frames", 1234}, {"to_guest_frames", 0}});
  CHECK(stats_text(json, false).find("1,234") != std::string::npos);
  CHECK(stats_text(json, false).find("to_guest_frames") == std::string::npos);
  CHECK(stats_text(json, true).find("to_guest_frames") != std::string::npos);
}

TEST_CASE("text_the_live_table_s_figures_stand_below_their_heads") {
  Rates rates;
  rates.vifs = {{.vif = "1.0",
                 .domain = "web",
                 .state = "connected",
                 .from_guest = {1234, 5.5, 16.5, 0.125, {{"port_full", 7}}},
                 .to_guest = {99, 2.5, 8.5, 0.5, {}}}};
  rates.ports = {{.port = "host",
                  .link = "up",
                  .received_frames = 11,
                  .received_megabits = 1.5,
                  .sent_frames = 2222,
                  .sent_megabits = 3.5,
                  .frames_per_burst = 30.5}};
  rates.workers = {{.worker = 0, .cpu = 3, .busy = 0.25, .cycles_per_frame = 456, .sleeps = 78}};
  CHECK(rates_text(rates, false) ==
        "VIF  DOMAIN  STATE      DIRECTION   FRAMES/S  MBIT/S  SLOTS/COPY  NOTIFY/FRAME  DROPS/S\n"
        "1.0  web     connected  from guest     1,234     5.5        16.5         0.125  port_full "
        "7\n"
        "                        to guest          99     2.5         8.5         0.500  -\n"
        "\n"
        "PORT  LINK  RECEIVED/S  MBIT/S  SENT/S  MBIT/S  FRAMES/BURST\n"
        "host  up            11     1.5   2,222     3.5          30.5\n"
        "\n"
        "WORKER  CPU   BUSY  CYCLES/FRAME  SLEEPS/S\n"
        "     0    3  25.0%           456        78\n");
}

TEST_CASE("text_a_list_s_words_stand_below_their_heads") {
  const Json vif = {{"vif", "3.0"},      {"domain", "web"}, {"mac", "00:16:3e:00:00:01"},
                    {"port", "p"},       {"cpu", 5},        {"state", "refused"},
                    {"error", "no port"}};
  CHECK(list_text({{"vifs", Json::array({vif})}}) ==
        "VIF  DOMAIN  MAC                PORT  CPU  STATE    ERROR\n"
        "3.0  web     00:16:3e:00:00:01  p       5  refused  no port\n");
}

TEST_CASE("text_the_live_table_has_a_line_for_each_direction_worker_and_port") {
  const std::string text = rates_text(
      rates_between(stats(0, empty), stats(1'000'000'000, {{"from_guest_frames", 9}})), false);
  CHECK(text.find("from guest") != std::string::npos);
  CHECK(text.find("to guest") != std::string::npos);
  CHECK(text.find("CYCLES/FRAME") != std::string::npos);
  CHECK(text.find("\x1b") == std::string::npos);
  CHECK(rates_text({}, true).find("\x1b[1m") != std::string::npos);
}

TEST_CASE("text_counters_of_several_queues_stand_below_their_sums") {
  const auto queue = [](int number, int frames) {
    return Json{{"queue", number}, {"stalled", false}, {"from_guest_frames", frames}};
  };
  Json json = stats(0, {{"from_guest_frames", 7}});
  const std::string one = stats_text(json, false);
  CHECK(one.find("QUEUE") == std::string::npos);
  json["vifs"][0]["queues"] = Json::array({queue(0, 3), queue(1, 4)});
  const std::string two = stats_text(json, false);
  INFO(two);
  const size_t first = two.find("QUEUE 0  "), second = two.find("QUEUE 1  ");
  REQUIRE(second != std::string::npos);
  CHECK(first < second);
  CHECK(two.find("from_guest_frames      3") != std::string::npos);
  CHECK(two.find("\nqueue") == std::string::npos);
  CHECK(rates_between(json, json).vifs.size() == 1);
}

TEST_CASE("text_show_has_a_line_for_each_ring_of_each_queue") {
  const Json ring = {{"req_prod", 11}, {"req_event", 12}, {"rsp_prod", 13}, {"rsp_event", 14}};
  const Json queue = {{"queue", 1},
                      {"event_port_from_guest", 77},
                      {"event_port_to_guest", 78},
                      {"ring_from_guest", ring},
                      {"ring_to_guest", nullptr}};
  const std::string text = show_text(
      {{"vif", "3.0"}, {"connection", {{"takes_chains", true}, {"queues", Json::array({queue})}}}});
  CHECK(text ==
        "vif         3.0\n"
        "\n"
        "takes_chains  yes\n"
        "\n"
        "QUEUE  RING        EVENT_PORT  REQ_PROD  REQ_EVENT  RSP_PROD  RSP_EVENT\n"
        "    1  from_guest          77  11        12         13        14\n"
        "    1  to_guest            78  nonsense  nonsense   nonsense  nonsense\n");
}

TEST_CASE("text_a_list_of_values_is_a_line_of_them_and_an_empty_one_a_dash") {
  const Json some = Json::array({"01:00:5E:00:00:01", "33:33:00:00:00:02"});
  const Json connection = {{"groups", some},
                           {"none", Json::array()},
                           {"one", Json::array({7})},
                           {"queues", Json::array()}};
  const std::string text = show_text({{"vif", "1.0"}, {"connection", connection}});
  CHECK(text.find("groups  01:00:5E:00:00:01 33:33:00:00:00:02\n") != std::string::npos);
  CHECK(text.find("none    -\n") != std::string::npos);
  CHECK(text.find("one     7\n") != std::string::npos);
}

TEST_CASE("text_of_a_port_ends_with_its_filters_and_whom_they_are_for") {
  const auto filter = [](const char* address, const Json& vifs) {
    return Json{{"address", address}, {"vifs", vifs}};
  };
  Json port = {{"port", "p"}, {"promiscuous_for", Json::array({"vif 1.0", "vif 2.0"})}};
  port["unicast"] = Json::array({filter("00:16:3e:00:00:01", Json::array({"1.0", "2.0"}))});
  port["multicast"] = Json::array({filter("01:00:5e:00:00:01", Json::array({"1.0"})),
                                   filter("33:33:00:00:00:02", Json::array({"2.0"}))});
  port["queue_pairs"] = Json::array();
  for (int worker : {1, 0})
    port["queue_pairs"].push_back({{"queue", 1 - worker},
                                   {"worker", worker},
                                   {"received_frames", 1234 * worker},
                                   {"sent_frames", 5}});
  port["queue_pairs"][0]["cpu"] = 7;
  port["flow_rules"] =
      Json::array({{{"address", "00:16:3e:00:00:01"}, {"vif", "2.0"}, {"queue", 1}}});
  CHECK(ports_text({{"ports", Json::array({port, {{"port", "q"}}})}}) ==
        "port             p\n"
        "promiscuous_for  vif 1.0 vif 2.0\n"
        "QUEUE_PAIR  WORKER  CPU  RECEIVED_FRAMES  SENT_FRAMES\n"
        "         0       1    7             1234            5\n"
        "         1       0    -                0            5\n"
        "FLOW_RULE          VIF  QUEUE_PAIR\n"
        "00:16:3e:00:00:01  2.0           1\n"
        "FILTER     ADDRESS            VIFS\n"
        "unicast    00:16:3e:00:00:01  1.0 2.0\n"
        "multicast  01:00:5e:00:00:01  1.0\n"
        "multicast  33:33:00:00:00:02  2.0\n"
        "\n"
        "port  q\n");
}

TEST_CASE("rates_cycles_of_a_worker_are_per_frame_of_its_own_vifs") {
  const auto at = [](uint64_t time_ns, int scale) {
    Json json = stats(time_ns, {{"from_guest_frames", 10 * scale}, {"worker", 0}}, empty,
                      {{"worker_busy_cycles", 1000 * scale}});
    Json vif = json["vifs"][0], worker = json["workers"][0];
    vif["vif"] = "2.0";
    vif["worker"] = 1;
    vif["to_guest_frames"] = 30 * scale;
    worker["worker"] = 1;
    worker["cpu"] = 4;
    json["vifs"].push_back(vif);
    json["workers"].push_back(worker);
    return json;
  };
  const auto rates = rates_between(at(0, 1), at(1'000'000'000, 2));
  REQUIRE(rates.workers.size() == 2);
  CHECK(rates.workers[0].cycles_per_frame == 100);
  CHECK(rates.workers[1].cycles_per_frame == 25);
  CHECK(rates.workers[1].cpu == 4);
  const std::string text = stats_text(at(0, 1), true);
  CHECK(text.find("WORKER 1 ON CPU 4") != std::string::npos);
  CHECK(text.find("\nworker ") == std::string::npos);
}
