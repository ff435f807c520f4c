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

void put(Frontend& frontend, uint32_t bytes = frame_bytes, uint16_t flags = 0) {
  frontend.put(static_cast<uint32_t>(frontend.take_buffer()), bytes, flags);
}

void impossible_producer(Frontend& frontend) {
  frontend.push_from_guest();
  frontend.from_guest_ring().req_prod() += netif::ring_slots + 1;
}

void bad_extra_type(Frontend& frontend) {
  put(frontend, frame_bytes, NETTXF_extra_info);
  netif::ExtraInfo extra{};
  extra.type = 200;
  frontend.from_guest_ring().put(extra);
  frontend.push_from_guest();
}

void unfinished_frame(Frontend& frontend) {
  put(frontend, 2 * frame_bytes, NETTXF_more_data);
  frontend.push_from_guest();
}

void crosses_page(Frontend& frontend) {
  put(frontend, netif::page_bytes + 1);
  frontend.push_from_guest();
}

struct Kind {
  const char* name;
  void (*tell)(Frontend&);
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
  for (uint32_t i = 0; i < honest_frames; ++i) put(frontend);
  for (const auto& kind : kinds)
    if (name == kind.name) kind.tell(frontend);
  frontend.kick();
  uint32_t answered = 0;
  const auto end = std::chrono::steady_clock::now() + 5s;
  while (frontend.served() && std::chrono::steady_clock::now() < end) {
    answered += frontend.reap();
    std::this_thread::sleep_for(1ms);
  }
  answered += frontend.reap();
  return {{"lie", name},
          {"answered", answered},
          {"errors", frontend.errors()},
          {"bad_answers", frontend.bad_answers()},
          {"served", frontend.served()},
          {"faults", frontend.bad_answers() + frontend.served()}};
}

}  // namespace netback
