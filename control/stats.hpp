// What netbackctl shows, as JSON: formats of the control socket's answers. Counters are flat keys
// with their exported names, totals since attach; rates are the reader's.
#pragma once

#include <nlohmann/json.hpp>

#include <memory>
#include <vector>

#include "control/port.hpp"
#include "control/vif_session.hpp"
#include "dataplane/counters.hpp"
#include "dataplane/worker.hpp"

namespace netback {

// One key per counter of the list.
template <class Counter, class List>
void put_counters(nlohmann::ordered_json& object, const Counters<Counter>& counters,
                  const List& list) {
  for (size_t i = 0; i < list.size(); ++i)
    object[std::string(list[i].name)] = counters.read(Counter(i));
}

// Of all workers.
void put_queue_counters(nlohmann::ordered_json& object, const GuestQueue& queue);
nlohmann::ordered_json port_counters_json(const PortCounters& counters);
nlohmann::ordered_json worker_counters_json(const WorkerCounters& counters);

// One line of `list`.
nlohmann::ordered_json vif_summary(const VifSession& vif);
// `show`: settings with their origins, what was agreed, ring indices, what is wrong.
nlohmann::ordered_json vif_details(const VifSession& vif);
// The sums over the vif's queues, and of several "queues": the same of each.
nlohmann::ordered_json vif_stats(const VifSession& vif);
nlohmann::ordered_json port_details(const Port& port);

struct StatsSources {
  const std::vector<VifSession*>& vifs;
  const std::vector<std::unique_ptr<Port>>& ports;
  std::vector<const Worker*> workers;
  const std::vector<unsigned>& cpus;  // theirs
};
// `stats`: {time_ns, tsc_hz, vifs, ports, workers}.
nlohmann::ordered_json stats_json(const StatsSources& sources);

}  // namespace netback
