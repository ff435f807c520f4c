// netfront-pktgen: sends, receives and reflects frames through a guest's vif, from user space.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>

#include "bench/netfront_pktgen/traffic.hpp"

using namespace netback;

namespace {

std::atomic<bool> stopped = false;

// What is wrong with a list of addresses, or nothing.
std::string check_macs(const std::string& text) {
  static const std::string mac = "([0-9a-f]{2}:){5}[0-9a-f]{2}";
  static const std::regex list(mac + "(," + mac + ")*", std::regex::icase);
  return std::regex_match(text, list) ? "" : fmt::format("'{}' is no Ethernet address", text);
}

void add_options(CLI::App& app, FrontendOptions& frontend, TrafficOptions& traffic) {
  app.add_option("--devid", frontend.devid, "which of the guest's vifs")->capture_default_str();
  app.add_flag("!--one-event-channel", frontend.split_event_channels, "one for both directions");
  app.add_flag("!--no-sg", frontend.scatter_gather, "take no frames of several slots");
  app.add_option("--seconds", traffic.seconds, "stop after this long; 0: never")
      ->capture_default_str();
  app.add_option("--count", traffic.count, "stop after this many frames; 0: never")
      ->capture_default_str();
  app.add_flag("--events", traffic.events, "sleep until the backend notifies; else poll");
  app.add_flag("--numbered", traffic.numbered, "frames carry a number and a pattern, checked");
  app.require_subcommand(1);
  const auto sends = [&](CLI::App& verb) {
    verb.add_option("--size", traffic.bytes, "bytes of a frame, without its checksum")
        ->check(CLI::Range(60, 65'535))
        ->capture_default_str();
    verb.add_option("--burst", traffic.burst, "frames put at once")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    verb.add_option("--flows", traffic.flows, "different source ports")->capture_default_str();
    verb.add_option("--rate", traffic.rate, "frames per second; 0: as fast as it goes")
        ->capture_default_str();
    verb.add_option("--to", traffic.to, "destination's address; several, with commas: by turns")
        ->check(CLI::Validator(check_macs, "MAC"))
        ->capture_default_str();
  };
  auto* send = app.add_subcommand("send", "frames to the backend");
  sends(*send);
  send->callback([&] { traffic.verb = Verb::send; });
  app.add_subcommand("receive", "count frames from the backend")->callback([&] {
    traffic.verb = Verb::receive;
  });
  auto* both = app.add_subcommand("both", "send and receive at once");
  sends(*both);
  both->add_flag("--linger", traffic.linger, "after the last frame receive until it is stopped");
  both->callback([&] { traffic.verb = Verb::both; });
  app.add_subcommand("echo", "send every frame back to its sender")->callback([&] {
    traffic.verb = Verb::echo;
  });
  auto* ping = app.add_subcommand("ping", "round trips to an echo, with a histogram");
  sends(*ping);
  ping->callback([&] { traffic.verb = Verb::ping; });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends, receives and reflects frames through a guest's vif.", "netfront-pktgen"};
  FrontendOptions frontend_options;
  TrafficOptions traffic_options;
  add_options(app, frontend_options, traffic_options);
  CLI11_PARSE(app, argc, argv);
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = true; });
  auto frontend = Frontend::connect(frontend_options);
  if (!frontend) {
    fmt::print(stderr, "netfront-pktgen: {}{}\n", frontend.error().message,
               frontend.error().fix.empty() ? "" : " (fix: " + frontend.error().fix + ")");
    return 1;
  }
  std::cerr << "netfront-pktgen: connected" << std::endl;
  Traffic traffic(*frontend.value(), traffic_options, stopped);
  const nlohmann::json result = traffic.run();
  std::cout << result.dump() << std::endl;
  return result["faults"] == 0 ? 0 : 1;
}
