#include "bench/netfront_pktgen/lie.hpp"

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

namespace netback {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t honest_frames = 4;
constexpr uint32_t frame_bytes = 60;

void put(FrontQueue& queue, uint32_t bytes = frame_bytes, uint16_t flags = 0) {
  queue.put(static_cast<uint32_t>(queue.take_buffer()), bytes, flags);
}

void impossible_producer(FrontQueue& queue) {
  queue.push_from_guest();
  queue.from_guest_ring().req_prod() += netif::ring_slots + 1;
}

void bad_extra_type(FrontQueue& queue) {
  put(queue, frame_bytes, NETTXF_extra_info);
  netif::ExtraInfo extra{};
  extra.type = 200;
  queue.from_guest_ring().put(extra);
  queue.push_from_guest();
}

void unfinished_frame(FrontQueue& queue) {
  put(queue, 2 * frame_bytes, NETTXF_more_data);
  queue.push_from_guest();
}

void crosses_page(FrontQueue& queue) {
  put(queue, netif::page_bytes + 1);
  queue.push_from_guest();
}

struct Kind {
  const char* name;
  void (*tell)(FrontQueue&);
};
constexpr std::array kinds = {
    Kind{"impossible-producer", impossible_producer}, Kind{"bad-extra-type", bad_extra_type},
    Kind{"unfinished-frame", unfinished_frame}, Kind{"crosses-page", crosses_page}};

}  // namespace

std::vector<std::string> lies() {
  std::vector<std::string> names;
  for (const auto& kind : kinds) names.emplace_back(kind.name);
  return names;
}

nlohmann::json lie(Frontend& frontend, const std::string& name) {
  const auto& queues = frontend.queues();
  for (const auto& queue : queues) {
    for (uint32_t i = 0; i < honest_frames; ++i) put(*queue);
    if (queue != queues.back()) queue->push_from_guest();
  }
  for (const auto& kind : kinds)
    if (name == kind.name) kind.tell(*queues.back());
  queues.back()->kick();
  uint32_t answered = 0;
  const auto end = std::chrono::steady_clock::now() + 5s;
  bool served = true;
  while (served && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(1ms);
    served = frontend.served();  // what is answered is answered before that
    for (const auto& queue : queues) answered += queue->reap();
  }
  uint64_t errors = 0, bad_answers = 0;
  for (const auto& queue : queues) {
    errors += queue->errors();
    bad_answers += queue->bad_answers();
  }
  return {{"lie", name},      {"answered", answered},
          {"errors", errors}, {"bad_answers", bad_answers},
          {"served", served}, {"faults", bad_answers + served}};
}

}  // namespace netback
