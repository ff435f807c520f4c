#include "control/stats.hpp"

#include <rte_cycles.h>

#include <chrono>

#include "control/rate_text.hpp"

namespace netback {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json origin_json(const Origin<T>& origin) {
  return {{"value", origin.value}, {"from", origin.from}};
}

Json rate_json(const Origin<RateLimit>& rate) {
  return {{"value", rate_text(rate.value)}, {"from", rate.from}};
}

Json vlan_json(const Origin<uint32_t>& vlan) {
  return {{"value", vlan.value == 0 ? Json(nullptr) : Json(vlan.value)}, {"from", vlan.from}};
}

Json ip_json(const Origin<std::string>& ip) {
  return {{"value", ip.value.empty() ? Json(nullptr) : Json(ip.value)}, {"from", ip.from}};
}

Json settings_json(const EffectiveVif& settings) {
  return {{"nic", origin_json(settings.nic)},
          {"mac", origin_json(settings.mac)},
          {"mtu", origin_json(settings.mtu)},
          {"vlan", vlan_json(settings.vlan)},
          {"rate", rate_json(settings.rate)},
          {"rate-to-guest", rate_json(settings.rate_to_guest)},
          {"rx-filter", origin_json(settings.rx_filter)},
          {"set-physaddr", origin_json(settings.set_physaddr)},
          {"lock-mac", origin_json(settings.lock_mac)},
          {"ip", ip_json(settings.ip)},
          {"lock-ip", origin_json(settings.lock_ip)},
          {"switching", origin_json(settings.switching)},
          {"backlog-frames", origin_json(settings.backlog_frames)},
          {"queues-max", origin_json(settings.queues_max)},
          {"lcores", origin_json(settings.lcores)}};
}

template <class Indices>
Json ring_json(const std::optional<Indices>& indices) {
  if (!indices) return nullptr;
  return {{"req_prod", indices->req_prod},
          {"req_event", indices->req_event},
          {"rsp_prod", indices->rsp_prod},
          {"rsp_event", indices->rsp_event}};
}

// Only what is constant while attached.
Json queue_json(const Connection& connection, uint32_t number) {
  const GuestQueue& queue = connection.queue(number);
  return {{"queue", number},
          {"event_port_from_guest", queue.from_guest_port},
          {"event_port_to_guest", queue.to_guest_port},
          {"ring_from_guest", ring_json(connection.from_guest_indices(number))},
          {"ring_to_guest", ring_json(connection.to_guest_indices(number))}};
}

// Names of what the guest has its frames hashed by; none when it has not.
Json hash_types_json(const VifSession& vif) {
  Json all = Json::array();
  if (vif.control_ring() == nullptr || !vif.control_ring()->hash_settings().on()) return all;
  constexpr const char* names[] = {"ipv4", "ipv4-tcp", "ipv6", "ipv6-tcp"};
  const uint32_t types = vif.control_ring()->hash_settings().types;
  for (uint32_t i = 0; i < std::size(names); ++i)
    if ((types >> i & 1) != 0) all.push_back(names[i]);
  return all;
}

Json groups_json(const MulticastGroups& groups) {
  Json all = Json::array();
  for (const rte_ether_addr& group : groups.joined()) {
    char text[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_format_addr(text, sizeof text, &group);
    all.push_back(text);
  }
  return all;
}

// Vifs that an address is for; none when it is no vif's.
Names users_of(const AddressUsers& users, const rte_ether_addr& address) {
  const auto found = users.find(address);
  return found == users.end() ? Names{} : found->second;
}

Json addresses_json(const Addresses& programmed, const AddressUsers& users) {
  Json all = Json::array();
  for (const auto& address : programmed)
    all.push_back({{"address", address_text(address)}, {"vifs", users_of(users, address)}});
  return all;
}

void put_filter_counts(Json& json, const FilterProgrammer::Counts& counts) {
  json["filter_calls"] = counts.calls;
  json["promiscuous_fallbacks"] = counts.promiscuous_fallbacks;
  json["allmulticast_fallbacks"] = counts.allmulticast_fallbacks;
  json["primary_mac_refused"] = counts.primary_refused;
  json["unicast_refused"] = counts.unicast_refused;
  json["multicast_refused"] = counts.multicast_refused;
  json["allmulticast_refused"] = counts.allmulticast_refused;
  json["promiscuous_refused"] = counts.promiscuous_refused;
}

// What is programmed, and for whom.
void put_filters(Json& json, const FilterProgrammer& filters) {
  const FilterState& state = filters.programmed();
  json["mac_for"] = users_of(filters.wanted().unicast, state.primary);
  json["promiscuous"] = state.promiscuous;
  json["promiscuous_for"] = filters.why_promiscuous();
  json["allmulticast"] = state.allmulticast;
  json["allmulticast_for"] = filters.why_allmulticast();
  json["unicast"] = addresses_json(state.unicast, filters.wanted().unicast);
  json["multicast"] = addresses_json(state.multicast, filters.wanted().multicast);
  put_filter_counts(json, filters.counts());
}

// What decides by which queue pair a frame comes.
void put_steering(Json& json, const Port& port) {
  json["rss"] = port.spread().text;
  json["steering"] = port.steering().text();
  json["flow_rule_calls"] = port.steering().counts().calls;
  json["flow_rules_refused"] = port.steering().counts().refused;
  json["flow_rules"] = Json::array();
  for (const auto& [address, rule] : port.steering().programmed())
    json["flow_rules"].push_back(
        {{"address", address_text(address)}, {"vif", rule.vif}, {"queue", rule.queue}});
}

Json pair_json(const PortQueue& pair) {
  return {{"queue", pair.queue},
          {"worker", pair.worker},
          {"received_frames", pair.counters.read(PortCounter::port_received_frames)},
          {"sent_frames", pair.counters.read(PortCounter::port_sent_frames)}};
}

Json connection_json(const VifSession& vif) {
  const Connection& connection = *vif.connection();
  const VifSettings& settings = connection.settings();
  Json queues = Json::array();
  for (uint32_t number = 0; number < connection.queues().size(); ++number)
    queues.push_back(queue_json(connection, number));
  return {{"takes_chains", settings.takes_chains},
          {"takes_blank_ipv4", settings.takes_blank_ipv4},
          {"takes_blank_ipv6", settings.takes_blank_ipv6},
          {"takes_gso_tcpv4", settings.takes_gso_tcpv4},
          {"takes_gso_tcpv6", settings.takes_gso_tcpv6},
          {"stall_ms", settings.stall_ms},
          {"xdp_headroom", connection.queue(0).xdp_headroom.load()},
          {"staged_pages", vif.control_ring() ? vif.control_ring()->staged_pages() : 0},
          {"hash_types", hash_types_json(vif)},
          {"hash_mapping_entries",
           vif.control_ring() ? vif.control_ring()->hash_settings().mapping_entries : 0},
          {"multicast_control", vif.multicast()->state()},
          {"multicast_groups", groups_json(connection.multicast())},
          {"queues", queues}};
}

std::string_view hotplug_text(Hotplug hotplug) {
  if (hotplug == Hotplug::connected) return "connected";
  return hotplug == Hotplug::error ? "error" : "pending";
}

}  // namespace

void put_queue_counters(Json& object, const GuestQueue& queue) {
  for (size_t i = 0; i < queue_counter_info.size(); ++i)
    object[std::string(queue_counter_info[i].name)] = queue.total(QueueCounter(i));
}

Json port_counters_json(const PortCounters& counters) {
  Json json = Json::object();
  put_counters(json, counters, port_counter_info);
  return json;
}

Json worker_counters_json(const WorkerCounters& counters) {
  Json json = Json::object();
  put_counters(json, counters, worker_counter_info);
  return json;
}

Json vif_summary(const VifSession& vif) {
  Json json = {{"vif", vif.id().text()},
               {"domain", vif.identity().domain},
               {"mac", vif.plan() ? vif.plan()->settings.mac.value : vif.identity().mac},
               {"port", vif.plan() ? vif.plan()->port->config().name : ""},
               {"state", vif.state()}};
  if (vif.connection() != nullptr) json["cpu"] = vif.cpu();
  if (!vif.error().empty()) json["error"] = vif.error();
  return json;
}

Json vif_details(const VifSession& vif) {
  using std::chrono::milliseconds;
  const VifFacts& facts = vif.facts();
  Json json = vif_summary(vif);
  json["backend_state"] = unsigned(facts.own);
  json["frontend_state"] = unsigned(facts.frontend);
  json["hotplug"] = hotplug_text(facts.hotplug);
  json["online"] = facts.online;
  json["uuid"] = vif.identity().uuid;
  json["rearm_ms"] = std::chrono::ceil<milliseconds>(vif.rearm_wait()).count();
  if (vif.plan()) {
    json["settings"] = settings_json(vif.plan()->settings);
    json["warnings"] = vif.plan()->settings.warnings;
  }
  if (vif.connection() != nullptr) json["connection"] = connection_json(vif);
  return json;
}

Json vif_stats(const VifSession& vif) {
  Json json = vif_summary(vif);
  if (vif.connection() == nullptr) return json;
  json["worker"] = vif.connection()->queue().worker;
  if (vif.connection()->queues().size() == 1) {
    put_queue_counters(json, vif.connection()->queue());
    return json;
  }
  Json queues = Json::array();
  for (const GuestQueue* queue : vif.connection()->queues()) {
    Json one = {{"queue", queue->number}, {"stalled", queue->stalled.load()}};
    put_queue_counters(one, *queue);
    queues.push_back(std::move(one));
  }
  // Of the same moment as theirs.
  for (const auto& counter : queue_counter_info) {
    const std::string name(counter.name);
    uint64_t sum = 0;
    for (const Json& queue : queues) sum += queue[name].get<uint64_t>();
    json[name] = sum;
  }
  json["queues"] = std::move(queues);
  return json;
}

Json port_details(const Port& port) {
  const PortQueue& queue = port.queue();
  Json json = {{"port", port.config().name},
               {"device", port.config().device},
               {"driver", port.device().quirks->driver},
               {"dpdk_port", queue.device},
               {"mac", port.mac()},
               {"mtu", port.config().mtu},
               {"bridge", port.config().bridge},
               {"link", port.link_text()},
               {"running", queue.running.load()},
               {"checksum_offload", queue.can.checksum},
               {"segmentation_offload", queue.can.segments},
               {"chained_buffers", queue.can.chains},
               {"receive_interrupt", queue.receive_fd >= 0}};
  put_filters(json, port.filters());
  put_steering(json, port);
  json["queue_pairs"] = Json::array();
  for (const auto& pair : port.pairs()) json["queue_pairs"].push_back(pair_json(*pair));
  return json;
}

Json stats_json(const StatsSources& sources) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  Json json = {{"time_ns", std::chrono::nanoseconds(now).count()}, {"tsc_hz", rte_get_tsc_hz()}};
  json["vifs"] = json["ports"] = json["workers"] = Json::array();
  for (const VifSession* vif : sources.vifs) json["vifs"].push_back(vif_stats(*vif));
  for (const auto& port : sources.ports) {
    Json one = {{"port", port->config().name}, {"link", port->link_text()}};
    for (size_t i = 0; i < port_counter_info.size(); ++i)
      one[std::string(port_counter_info[i].name)] = port->count(PortCounter(i));
    const Port::DriverCounts driver = port->driver_counts();
    one["driver_received_frames"] = driver.received_frames;
    one["driver_sent_frames"] = driver.sent_frames;
    one["driver_missed_frames"] = driver.missed_frames;
    one["driver_failed_frames"] = driver.failed_frames;
    put_filter_counts(one, port->filters().counts());
    json["ports"].push_back(std::move(one));
  }
  for (size_t i = 0; i < sources.workers.size(); ++i) {
    Json worker = {{"worker", i}, {"cpu", sources.cpus[i]}};
    put_counters(worker, sources.workers[i]->counters(), worker_counter_info);
    json["workers"].push_back(std::move(worker));
  }
  return json;
}

}  // namespace netback
