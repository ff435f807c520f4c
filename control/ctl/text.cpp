#include "control/ctl/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace netback::ctl {
namespace {

// Bytes that are not the start of a character take no column; escapes of a terminal become dots,
// because a guest may have chosen them.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '.');
  return text;
}

bool is_number(const std::string& cell) {
  return !cell.empty() && std::ranges::all_of(cell, [](unsigned char c) {
    return std::isdigit(c) || c == '.' || c == ',' || c == '%' || c == '-';
  });
}

std::string cell_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null() || value == Json::array()) return "-";
  if (value.is_array()) {
    std::string cells;
    for (const Json& one : value) cells += (cells.empty() ? "" : " ") + cell_text(one);
    return cells;
  }
  return value.dump();
}

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string pair_lines(const Json& object, const std::vector<std::string>& left_out = {}) {
  std::string lines;
  size_t widest = 0;
  for (const auto& [key, value] : object.items()) widest = std::max(widest, key.size());
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(left_out, key) != left_out.end() || value.is_object()) continue;
    lines += fmt::format("{:<{}}  {}\n", key, widest, printable(cell_text(value)));
  }
  return lines;
}

std::string decimals(double number, int places) {
  return number == 0 ? "-" : fmt::format("{:.{}f}", number, places);
}

std::string drops_cell(const DirectionRates& rates) {
  std::string cell;
  for (const auto& [reason, frames] : rates.drops)
    cell += fmt::format("{}{} {}", cell.empty() ? "" : "  ", reason, grouped(frames));
  return or_dash(cell);
}

std::string counters_block(const std::string& title, const Json& object, bool all) {
  Table table({title, "TOTAL"});
  for (const auto& [key, value] : object.items()) {
    if (!value.is_number() || key == "cpu" || key == "worker" || key == "queue") continue;
    if (all || value.get<uint64_t>() != 0)
      table.row({key, grouped(static_cast<double>(value.get<uint64_t>()))});
  }
  return table.empty() ? fmt::format("{}  nothing counted yet\n", title) : table.text();
}

}  // namespace

Table::Table(std::vector<std::string> heads) {
  rows_.push_back(std::move(heads));
}

void Table::row(std::vector<std::string> cells) {
  for (auto& cell : cells) cell = printable(std::move(cell));
  rows_.push_back(std::move(cells));
}

std::string Table::text(bool bold_heads) const {
  std::vector<size_t> widths(rows_[0].size());
  // Right when there are numbers and nothing but numbers, dashes and empty cells.
  std::vector<bool> words(rows_[0].size()), numbers(rows_[0].size());
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      widths[c] = std::max(widths[c], width(rows_[r][c]));
      if (r == 0 || rows_[r][c].empty() || rows_[r][c] == "-") continue;
      (is_number(rows_[r][c]) ? numbers : words)[c] = true;
    }
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string pad(widths[c] - width(rows_[r][c]), ' ');
      line += numbers[c] && !words[c] ? pad + rows_[r][c] : rows_[r][c] + pad;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += r == 0 && bold_heads ? "\x1b[1m" + line + "\x1b[0m\n" : line + "\n";
  }
  return text;
}

std::string grouped(double number) {
  std::string digits = fmt::format("{:.0f}", std::round(number));
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string info_text(const Json& info) {
  return pair_lines(info);
}

std::string list_text(const Json& list) {
  Table table({"VIF", "DOMAIN", "MAC", "PORT", "CPU", "STATE", "ERROR"});
  for (const Json& vif : list["vifs"])
    table.row({vif.value("vif", ""), or_dash(vif.value("domain", "")),
               or_dash(vif.value("mac", "")), or_dash(vif.value("port", "")),
               cell_text(vif.value("cpu", Json())), vif.value("state", ""),
               vif.value("error", "")});
  return table.empty() ? "no vifs\n" : table.text();
}

std::string show_text(const Json& vif) {
  std::string text = pair_lines(vif, {"warnings"});
  for (const Json& warning : vif.value("warnings", Json::array()))
    text += fmt::format("warning: {}\n", printable(cell_text(warning)));
  if (vif.contains("settings")) {
    Table table({"SETTING", "VALUE", "FROM"});
    for (const auto& [key, setting] : vif["settings"].items())
      table.row({key, or_dash(cell_text(setting["value"])), setting.value("from", "")});
    text += "\n" + table.text();
  }
  if (!vif.contains("connection")) return text;
  text += "\n" + pair_lines(vif["connection"], {"queues"});
  Table rings({"QUEUE", "RING", "EVENT_PORT", "REQ_PROD", "REQ_EVENT", "RSP_PROD", "RSP_EVENT"});
  for (const Json& queue : vif["connection"]["queues"])
    for (const std::string direction : {"from_guest", "to_guest"}) {
      const Json& indices = queue["ring_" + direction];
      std::vector<std::string> cells = {cell_text(queue["queue"]), direction,
                                        cell_text(queue["event_port_" + direction])};
      for (const char* key : {"req_prod", "req_event", "rsp_prod", "rsp_event"})
        cells.push_back(indices.is_object() ? cell_text(indices[key]) : "nonsense");
      rings.row(std::move(cells));
    }
  return text + "\n" + rings.text();
}

std::string stats_text(const Json& stats, bool all) {
  std::string text;
  for (const Json& vif : stats["vifs"]) {
    text += counters_block(fmt::format("VIF {} {} {} ({})", vif.value("vif", ""),
                                       printable(or_dash(vif.value("domain", ""))),
                                       or_dash(vif.value("mac", "")), vif.value("state", "")),
                           vif, all) +
            "\n";
    for (const Json& queue : vif.value("queues", Json::array()))
      text += counters_block(
                  fmt::format("VIF {} QUEUE {}", vif.value("vif", ""), queue.value("queue", 0u)),
                  queue, all) +
              "\n";
  }
  for (const Json& port : stats["ports"])
    text += counters_block("PORT " + port.value("port", ""), port, all) + "\n";
  for (const Json& worker : stats["workers"])
    text += counters_block(fmt::format("WORKER {} ON CPU {}", worker.value("worker", 0u),
                                       worker.value("cpu", 0u)),
                           worker, all) +
            "\n";
  if (!text.empty()) text.pop_back();
  return text;
}

std::string ports_text(const Json& ports) {
  std::string text;
  for (const Json& port : ports["ports"]) {
    text += pair_lines(port, {"unicast", "multicast", "queue_pairs", "flow_rules"});
    Table pairs({"QUEUE_PAIR", "WORKER", "CPU", "RECEIVED_FRAMES", "SENT_FRAMES"});
    for (const Json& pair : port.value("queue_pairs", Json::array()))
      pairs.row({cell_text(pair["queue"]), cell_text(pair["worker"]),
                 cell_text(pair.value("cpu", Json())), cell_text(pair["received_frames"]),
                 cell_text(pair["sent_frames"])});
    text += pairs.empty() ? "" : pairs.text();
    Table filters({"FILTER", "ADDRESS", "VIFS"});
    for (const std::string kind : {"unicast", "multicast"})
      for (const Json& one : port.value(kind, Json::array()))
        filters.row({kind, one.value("address", ""), cell_text(one["vifs"])});
    Table rules({"FLOW_RULE", "VIF", "QUEUE_PAIR"});
    for (const Json& rule : port.value("flow_rules", Json::array()))
      rules.row({rule.value("address", ""), rule.value("vif", ""), cell_text(rule["queue"])});
    text += rules.empty() ? "" : rules.text();
    text += (filters.empty() ? "" : filters.text()) + "\n";
  }
  if (text.empty()) return "no ports\n";
  text.pop_back();
  return text;
}

std::string rates_text(const Rates& rates, bool bold_heads) {
  Table vifs({"VIF", "DOMAIN", "STATE", "DIRECTION", "FRAMES/S", "MBIT/S", "SLOTS/COPY",
              "NOTIFY/FRAME", "DROPS/S"});
  for (const VifRates& vif : rates.vifs) {
    const auto add = [&vifs](std::vector<std::string> cells, const DirectionRates& direction) {
      cells.insert(cells.end(),
                   {grouped(direction.frames), fmt::format("{:.1f}", direction.megabits),
                    decimals(direction.slots_per_copy, 1),
                    decimals(direction.notifications_per_frame, 3), drops_cell(direction)});
      vifs.row(std::move(cells));
    };
    add({vif.vif, or_dash(vif.domain), vif.state, "from guest"}, vif.from_guest);
    add({"", "", "", "to guest"}, vif.to_guest);
  }
  Table ports({"PORT", "LINK", "RECEIVED/S", "MBIT/S", "SENT/S", "MBIT/S", "FRAMES/BURST"});
  for (const PortRates& port : rates.ports)
    ports.row({port.port, port.link, grouped(port.received_frames),
               fmt::format("{:.1f}", port.received_megabits), grouped(port.sent_frames),
               fmt::format("{:.1f}", port.sent_megabits), decimals(port.frames_per_burst, 1)});
  Table workers({"WORKER", "CPU", "BUSY", "CYCLES/FRAME", "SLEEPS/S"});
  for (const WorkerRates& worker : rates.workers)
    workers.row({std::to_string(worker.worker), std::to_string(worker.cpu),
                 fmt::format("{:.1f}%", worker.busy * 100),
                 worker.cycles_per_frame == 0 ? "-" : grouped(worker.cycles_per_frame),
                 grouped(worker.sleeps)});
  return (vifs.empty() ? "no vifs\n" : vifs.text(bold_heads)) + "\n" + ports.text(bold_heads) +
         "\n" + workers.text(bold_heads);
}

}  // namespace netback::ctl
