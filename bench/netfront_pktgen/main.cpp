// netfront-pktgen: sends, receives and reflects frames through a guest's vif, from user space.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "bench/netfront_pktgen/ask.hpp"
#include "bench/netfront_pktgen/exchange.hpp"
#include "bench/netfront_pktgen/lie.hpp"
#include "bench/netfront_pktgen/many.hpp"
#include "bench/netfront_pktgen/slots.hpp"
#include "bench/netfront_pktgen/tap.hpp"
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

// The key of Microsoft's verification suite for RSS.
constexpr char hash_key[] =
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa";

struct AskOptions {
  std::string page;
  std::vector<std::string> requests;
  bool hold = false;
};

struct TapOptions {
  std::string name;
  bool blank_checksums = true;
};

void add_vif_options(CLI::App& app, FrontendOptions& frontend, uint32_t& vifs) {
  app.add_option("--devid", frontend.devid, "which of the guest's vifs")->capture_default_str();
  app.add_option("--vifs", vifs,
                 "so many, from that one on; with hold, receive, and send without --count")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--queues", frontend.queues,
                 "so many queues, if the backend takes them; with send, receive, both and echo")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--timeout", frontend.timeout_s, "seconds for the backend to answer")
      ->capture_default_str();
  app.add_flag("!--one-event-channel", frontend.split_event_channels, "one for both directions");
  app.add_flag("!--no-sg", frontend.scatter_gather, "take no frames of several slots");
  app.add_flag("!--no-rx-notify", frontend.rx_notify, "say nothing of buffers that are posted");
  app.add_flag("--no-csum-offload", frontend.no_csum_offload, "take no blank IPv4 checksums");
  app.add_flag("!--no-ipv6-csum-offload", frontend.ipv6_csum_offload,
               "take no blank IPv6 checksums");
  app.add_flag("!--no-gso", frontend.gso, "take no TCP frames that stand for several");
  app.add_flag("--multicast-control", frontend.multicast_control,
               "take frames only of the multicast groups that it joins");
  app.add_option("--buffers", frontend.posted_buffers, "post no more buffers than these")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--xdp-headroom", frontend.xdp_headroom,
                 "bytes that the backend leaves free in each page");
  app.add_flag("--staging", frontend.staging, "have the backend keep all pages mapped, if it can");
  app.add_option("--hash", frontend.hash_types,
                 "have frames come with hashes of these types, checked: 1 IPv4, 2 with TCP's ports,"
                 " 4 IPv6, 8 with TCP's ports, or a sum of them")
      ->check(CLI::Range(1, 15));
  app.add_option_function<std::string>(
         "--hash-key", [&](const std::string& key) { frontend.hash_key = bytes_of_hex(key); },
         "their key, hexadecimal")
      ->default_str(hash_key);
  app.add_option("--hash-mapping", frontend.hash_mapping,
                 "numbers of queues, with commas: of each hash, modulo how many there are")
      ->delimiter(',');
  app.add_flag("--spoil", frontend.spoil_answered, "overwrite each page that has been answered");
}

void add_options(CLI::App& app, TrafficOptions& traffic, TapOptions& tap) {
  app.add_option("--seconds", traffic.seconds, "stop after this long; 0: never")
      ->capture_default_str();
  app.add_option("--warm-up", traffic.warm_up,
                 "sends: count steady_answered in steady_seconds from so many seconds on")
      ->capture_default_str();
  app.add_option("--count", traffic.count, "stop after this many frames; 0: never")
      ->capture_default_str();
  app.add_option("--join", traffic.groups, "multicast groups to join first; several, with commas")
      ->check(CLI::Validator(check_macs, "MAC"));
  app.add_option("--leave-after", traffic.leave_after,
                 "receive: leave them again after so many frames; 0: never")
      ->capture_default_str();
  app.add_flag("--events", traffic.events, "sleep until the backend notifies; else poll");
  app.add_flag("--numbered", traffic.numbered, "frames carry a number and a pattern, checked");
  app.add_flag("--tcp", traffic.tcp, "check the TCP stream that another sends with --gso");
  app.require_subcommand(1);
  const auto sends = [&](CLI::App& verb) {
    verb.add_option("--size", traffic.bytes, "bytes of a frame, without its checksum")
        ->check(CLI::Range(60, 65'535))
        ->capture_default_str();
    verb.add_option("--burst", traffic.burst, "frames put at once")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    verb.add_option("--gso", traffic.segment_bytes,
                    "TCP frames, to be cut into segments of so many bytes of payload")
        ->check(CLI::Range(1, 65'535));
    verb.add_flag("--ipv6", traffic.ipv6, "those are over IPv6");
    verb.add_option("--send-hash", traffic.send_hash, "frames come with this for their hash");
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
  auto* echo = app.add_subcommand("echo", "send every frame back to its sender");
  echo->add_flag("--unchanged", traffic.unchanged, "addresses are not swapped");
  echo->callback([&] { traffic.verb = Verb::echo; });
  auto* tap_verb = app.add_subcommand("tap", "a Linux network stack: its interface is a tap");
  tap_verb->add_option("NAME", tap.name, "of the interface")->required();
  tap_verb->add_flag("!--whole-checksums", tap.blank_checksums, "the stack leaves none blank");
  tap_verb->callback([&] {
    traffic.verb = Verb::tap;
    traffic.events = true;
  });
  app.add_subcommand("hold", "stay connected, asleep; take what comes")->callback([&] {
    traffic.verb = Verb::hold;
  });
  app.add_subcommand("churn", "leave the groups of --join and join them again, without end")
      ->callback([&] { traffic.verb = Verb::churn; });
  auto* ping = app.add_subcommand("ping", "round trips to an echo, with a histogram");
  sends(*ping);
  ping->callback([&] { traffic.verb = Verb::ping; });
}

void add_lie(CLI::App& app, std::string& kind) {
  app.add_subcommand("lie", "break the protocol, and see what comes of it")
      ->add_option("KIND", kind)
      ->required()
      ->check(CLI::IsMember(lies()));
}

void add_ask(CLI::App& app, AskOptions& ask, FrontendOptions& frontend) {
  auto* verb = app.add_subcommand("ask", "requests on the control ring; prints the answers");
  verb->add_option("REQUEST", ask.requests, "TYPE,DATA0,DATA1,DATA2; page: the page's reference")
      ->required();
  verb->add_option("--page", ask.page, "what the page begins with, hexadecimal");
  verb->add_flag("--hold", ask.hold, "stay connected until it is stopped");
  verb->callback([&] { frontend.control_ring = true; });
}

// The answers; with --hold once it is stopped.
nlohmann::json run(GuestDevices& devices, Frontend& frontend, const AskOptions& options) {
  nlohmann::json result = ask(frontend, options.page, options.requests);
  while (options.hold && !stopped) devices.wait(std::chrono::milliseconds(100));
  return result;
}

void add_slots(CLI::App& app, std::vector<std::string>& words) {
  app.add_subcommand("slots", "put slots as they are told, and see how they are answered")
      ->add_option(
          "SLOT", words,
          "SIZE[:FLAGS[:OFFSET[:REFERENCE]]], xTYPE[:FLAGS[:GSO_BYTES[:GSO_TYPE]]] for "
          "extra info, +COUNT to claim more than were put, !COUNT to notify so often, / to wait "
          "for the answers. Then it waits to be stopped")
      ->required();
}

struct ExchangeOptions {
  std::string file, record;
};

void add_exchange(CLI::App& app, ExchangeOptions& options) {
  auto* verb = app.add_subcommand("exchange", "send a file's frames, record what comes");
  verb->add_option("FILE", options.file,
                   "a frame a line: HEX [blank] [gso=BYTES] [pieces=BYTES,..]; blank: its checksum "
                   "is; pieces: what each slot has")
      ->required();
  verb->add_option("RECORD", options.record, "what came, in the same words; until it is stopped")
      ->required();
}

int refused(const Error& error) {
  fmt::print(stderr, "netfront-pktgen: {}{}\n", error.message,
             error.fix.empty() ? "" : " (fix: " + error.fix + ")");
  return 1;
}

bool takes_many(const TrafficOptions& options) {
  return options.verb == Verb::hold || options.verb == Verb::receive ||
         (options.verb == Verb::send && options.count == 0);
}

// Verbs that are done on each queue for itself. A TCP stream is one flow.
bool takes_queues(const TrafficOptions& options) {
  const bool verb = options.verb == Verb::send || options.verb == Verb::receive ||
                    options.verb == Verb::both || options.verb == Verb::echo;
  return verb && options.segment_bytes == 0;
}

nlohmann::json run(GuestDevices& devices, const Frontends& frontends, const TrafficOptions& options,
                   Tap* tap) {
  if (options.verb == Verb::hold) return hold(devices, frontends, options, stopped);
  if (frontends.size() > 1 && options.verb == Verb::receive)
    return run_queues(frontends, options, stopped, "vifs");
  if (frontends.size() > 1) return send_by_turns(frontends, options, stopped);
  const auto& queues = frontends.front()->queues();
  if (queues.size() > 1) return run_queues(frontends, options, stopped);
  return Traffic(*queues.front(), options, stopped, {}, tap).run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends, receives and reflects frames through a guest's vif.", "netfront-pktgen"};
  FrontendOptions frontend_options;
  TrafficOptions traffic_options;
  TapOptions tap_options;
  uint32_t vifs = 1;
  add_vif_options(app, frontend_options, vifs);
  add_options(app, traffic_options, tap_options);
  std::string kind_of_lie;
  add_lie(app, kind_of_lie);
  AskOptions ask_options;
  add_ask(app, ask_options, frontend_options);
  frontend_options.hash_key = bytes_of_hex(hash_key);
  std::vector<std::string> slot_words;
  add_slots(app, slot_words);
  ExchangeOptions exchange_options;
  add_exchange(app, exchange_options);
  CLI11_PARSE(app, argc, argv);
  const auto slots = read_slot_words(slot_words);
  if (!slots) return refused(slots.error());
  const auto exchanged = read_exchange(exchange_options.file);
  if (!exchanged) return refused(exchanged.error());
  traffic_options.hash_types = frontend_options.hash_types;
  traffic_options.hash_key = frontend_options.hash_key;
  if (vifs > 1 && !(kind_of_lie.empty() && ask_options.requests.empty() && slot_words.empty() &&
                    takes_many(traffic_options))) {
    fmt::print(stderr, "netfront-pktgen: --vifs goes with hold, receive, send without --count\n");
    return 2;
  }
  if (frontend_options.queues > 1 &&
      (vifs > 1 || (kind_of_lie.empty() && !takes_queues(traffic_options)))) {
    fmt::print(stderr,
               "netfront-pktgen: --queues goes with send, receive, both, echo and lie, without "
               "--vifs and --gso\n");
    return 2;
  }
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = true; });
  const auto started = std::chrono::steady_clock::now();
  auto devices = GuestDevices::open();
  if (!devices) return refused(devices.error());
  auto connected = Frontend::connect(*devices.value(), frontend_options, vifs);
  if (!connected) return refused(connected.error());
  const Frontends& frontends = connected.value();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::unique_ptr<Tap> tap;
  if (!tap_options.name.empty()) {
    auto made = Tap::make(tap_options.name, frontends.front()->mac(), tap_options.blank_checksums,
                          frontend_options.gso && frontends.front()->backend_segments());
    if (!made) return refused(made.error());
    tap = std::move(made).value();
  }
  std::cerr << "netfront-pktgen: connected" << std::endl;
  nlohmann::json result;
  if (!slot_words.empty())
    result = put_slots(*frontends.front(), Result(slots).value());
  else if (!kind_of_lie.empty())
    result = lie(*frontends.front(), kind_of_lie);
  else if (!exchange_options.file.empty())
    result =
        exchange(*frontends.front(), Result(exchanged).value(), exchange_options.record, stopped);
  else if (!ask_options.requests.empty())
    result = run(*devices.value(), *frontends.front(), ask_options);
  else
    result = run(*devices.value(), frontends, traffic_options, tap.get());
  result["connect_seconds"] = took.count();
  std::cout << result.dump() << std::endl;
  // Still connected, so that its counters can be looked at.
  while (!slot_words.empty() && !stopped) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return result["faults"] == 0 ? 0 : 1;
}
