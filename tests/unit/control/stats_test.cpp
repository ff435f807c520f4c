#include "control/stats.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "control/requests.hpp"
#include "control/startup.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using Json = Requests::Json;

TEST_CASE("stats_every_queue_counter_is_there_flat_with_its_exported_name_and_value") {
  test::TestGuest guest(0);
  for (size_t i = 0; i < QueueCounters::size; ++i) {
    guest.queue->counters.add(QueueCounter(i), 50 + i);
    guest.queue->elsewhere.add_shared(QueueCounter(i), 50);
  }
  Json json;
  put_queue_counters(json, *guest.queue);
  REQUIRE(json.size() == queue_counter_info.size());
  for (size_t i = 0; i < queue_counter_info.size(); ++i)
    CHECK(json[std::string(queue_counter_info[i].name)] == 100 + i);
  CHECK(json.contains("from_guest_drop_bad_size_frames"));
}

TEST_CASE("stats_every_port_and_worker_counter_is_there") {
  PortCounters port;
  port.add(PortCounter::port_sent_bytes, 5);
  const Json port_json = port_counters_json(port);
  CHECK(port_json.size() == port_counter_info.size());
  CHECK(port_json["port_sent_bytes"] == 5);
  WorkerCounters worker;
  worker.add(WorkerCounter::worker_busy_cycles, 6);
  const Json worker_json = worker_counters_json(worker);
  CHECK(worker_json.size() == worker_counter_info.size());
  CHECK(worker_json["worker_busy_cycles"] == 6);
}

TEST_CASE("requests_an_answer_is_one_line_with_ok_and_the_result") {
  Requests requests;
  requests.add("double", [](const Json& args) { return Json{{"n", args["n"].get<int>() * 2}}; });
  CHECK(requests.answer(R"({"verb":"double","args":{"n":4}})") ==
        R"({"ok":true,"result":{"n":8}})");
}

TEST_CASE("requests_args_may_be_absent") {
  Requests requests;
  requests.add("size", [](const Json& args) { return Json{{"size", args.size()}}; });
  CHECK(requests.answer(R"({"verb":"size"})") == R"({"ok":true,"result":{"size":0}})");
}

TEST_CASE("requests_a_refusal_carries_code_reason_and_fix") {
  Requests requests;
  requests.add("stop", [](const Json&) {
    return Requests::Refusal{exit_code::busy, {"connected: 1.0", "drain"}};
  });
  CHECK(requests.answer(R"({"verb":"stop"})") ==
        R"({"ok":false,"code":3,"error":"connected: 1.0","fix":"drain"})");
}

TEST_CASE("requests_what_is_no_request_is_answered_as_such") {
  Requests requests;
  requests.add("info", [](const Json&) { return Json::object(); });
  for (const char* line :
       {"", "nonsense", "[]", "7", "{}", R"({"verb":7})", R"({"verb":"info","args":[]})",
        R"({"verb":"dance"})", "{\"verb\":\"\xff\"}"}) {
    INFO(line);
    const Json answer = Json::parse(requests.answer(line));
    CHECK(answer["ok"] == false);
    CHECK(answer["code"] == exit_code::usage);
  }
}

TEST_CASE("requests_an_unknown_verb_is_told_which_there_are") {
  Requests requests;
  requests.add("info", [](const Json&) { return Json::object(); });
  requests.add("list", [](const Json&) { return Json::object(); });
  const Json answer = Json::parse(requests.answer(R"({"verb":"dance"})"));
  CHECK(answer["error"] == "unknown verb 'dance'");
  CHECK(answer["fix"] == "use one of info, list");
}

TEST_CASE("requests_an_unknown_verb_cannot_break_the_line") {  // found by fuzz-control-socket
  const Json answer = Json::parse(Requests().answer(R"({"verb":"a\nb\u0000"})"));
  CHECK(answer["error"] == "unknown verb 'a?b?'");
}

TEST_CASE("requests_a_name_that_is_not_utf_8_does_not_stop_the_answer") {
  Requests requests;
  requests.add("list", [](const Json&) { return Json{{"domain", "a\xff"}}; });
  CHECK(Json::parse(requests.answer(R"({"verb":"list"})"))["ok"] == true);
}
