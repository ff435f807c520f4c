// Many vifs of one guest in one thread, or all queues of one, by turns.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

using Frontends = std::vector<std::unique_ptr<Frontend>>;

// Sends on all of them until the time or `stopped`; a rate is each one's. The sums of what Traffic
// finds, and "vifs": what each sent and had answered.
nlohmann::json send_by_turns(const Frontends& frontends, const TrafficOptions& options,
                             const std::atomic<bool>& stopped);

// Sends, receives, both or echoes on all queues of the one vif, or of each vif, until each is
// finished; a rate, a count and the flows are each one's. The sums, and what each sent, had
// answered and received, as `kind`.
nlohmann::json run_queues(const Frontends& frontends, const TrafficOptions& options,
                          const std::atomic<bool>& stopped, const char* kind = "queues");

// Takes what comes and posts its buffers anew, asleep meanwhile, until `stopped`.
nlohmann::json hold(GuestDevices& devices, const Frontends& frontends,
                    const TrafficOptions& options, const std::atomic<bool>& stopped);

}  // namespace netback
