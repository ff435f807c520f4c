// What happened between two answers of `stats`, per second and per frame. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <utility>
#include <vector>

namespace netback::ctl {

using Json = nlohmann::ordered_json;

// Of one vif, one direction.
struct DirectionRates {
  double frames = 0;          // per second
  double megabits = 0;        // per second, Ethernet frames without preamble and checksum
  double slots_per_copy = 0;  // slots of a grant-copy call; 0: no call
  double notifications_per_frame = 0;
  std::vector<std::pair<std::string, double>> drops;  // reason, frames per second; those above 0
};

struct VifRates {
  std::string vif, domain, state;
  DirectionRates from_guest, to_guest;
};

struct PortRates {
  std::string port, link;
  double received_frames = 0, received_megabits = 0;  // per second
  double sent_frames = 0, sent_megabits = 0;
  double frames_per_burst = 0;  // sent
};

struct WorkerRates {
  unsigned worker = 0, cpu = 0;
  double busy = 0;              // share of its cycles in turns that moved a frame, 0 to 1
  double cycles_per_frame = 0;  // of those turns; frames from and to guests
  double sleeps = 0;            // per second
};

struct Rates {
  double seconds = 0;
  std::vector<VifRates> vifs;
  std::vector<PortRates> ports;
  std::vector<WorkerRates> workers;
};

// A vif that is not in `before`, or whose counters went back (it connected again), counts from 0.
Rates rates_between(const Json& before, const Json& after);

Json rates_json(const Rates& rates);

}  // namespace netback::ctl
