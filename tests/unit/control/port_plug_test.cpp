// Ports that a person adds and removes while vifs come and go.
#include "control/port_plug.hpp"

#include <rte_ethdev.h>

#include "control/startup.hpp"
#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Plugged : ControlHost {
  ConfigDirectory directory;
  std::string path = directory.path();
  std::vector<PortDevice> devices;
  std::vector<std::unique_ptr<Port>> leaving;
  PortWatch watch{*loop, ports, *pool, {link.get(), link.get()}, [](const Port&) {}};
  PortPlug plug{parts({link.get()}, *forwarding)};

  PluggedParts parts(std::vector<WorkerLink*> workers, Forwarding& to) {
    return {.config_directory = path,
            .config = config,
            .devices = devices,
            .ports = ports,
            .leaving = leaving,
            .pool = *pool,
            .hugepages = false,
            .workers = std::move(workers),
            .forwarding = to,
            .watcher = *watcher,
            .watch = watch};
  }

  Plugged() { file("net_null8"); }
  ~Plugged() { settle(); }  // no ack comes after the plug
  // The daemon's file with a port q on this device.
  void file(const std::string& device, const std::string& more = "") {
    directory.write("dpdk-netback.toml",
                    "[[port]]\nname = \"p\"\ndevice = \"net_ring9\"\n[[port]]\nname = "
                    "\"q\"\ndevice = \"" +
                        device + "\"\n" + more);
  }
  std::string add(const std::string& name) { return text(plug.add(name)); }
  std::string remove(const std::string& name, bool force = false) {
    return text(plug.remove(name, force));
  }
  // "CODE why (fix: ..)"; empty: it was done.
  std::string text(const PortPlug::Refused& refused) {
    if (!refused) return "";
    std::string line = std::to_string(refused->code) + " " + with_fix(refused->error);
    if (const size_t at = line.find(path); at != line.npos) line.erase(at, path.size());
    return line;
  }
  static bool is_open(const char* device) {
    uint16_t number;
    return rte_eth_dev_get_port_by_name(device, &number) == 0;
  }
  // A vif on port q.
  VifId vif_on_q(uint16_t domain) {
    const VifId id = add_vif(domain);
    nodes.set(backend(id) + "/nic", "q");
    return id;
  }
  std::string link_of(size_t port) { return port_details(*ports[port])["link"]; }
  std::string carrier(const VifId& id) { return nodes.read(backend(id) + "/carrier").value_or(""); }
};

}  // namespace

TEST_CASE("port_plug_adds_what_the_file_has_now_and_vifs_that_waited_for_it_connect") {
  Plugged h;
  const VifId id = h.vif_on_q(7);
  h.settle();
  CHECK(h.vif(id).error().find("port 'q' is not in dpdk-netback.toml") != std::string::npos);
  h.file("net_null8", "mtu = 1700\n");
  REQUIRE(h.add("q") == "");
  REQUIRE(h.ports.size() == 2);
  CHECK(h.ports[1]->config().mtu == 1700);
  CHECK(h.ports[1]->queue().running.load());
  CHECK(h.ports[1]->queue().port != h.ports[0]->queue().port);
  CHECK(h.devices.empty());  // it gives all back
  h.settle();
  CHECK(h.vif(id).error() == "");
  h.connect(id);
  h.settle();
  CHECK(h.state(id) == 4);
  CHECK(h.vif(id).plan()->port == h.ports[1].get());
  CHECK(h.add("q") == "3 port 'q' is there already (fix: netbackctl port remove q)");
}

TEST_CASE("port_plug_says_what_is_wrong_and_nothing_has_changed") {
  Plugged h;
  CHECK(h.add("r") ==
        "2 /dpdk-netback.toml has no [[port]] 'r'; ports: p, q (fix: write it there first)");
  h.file("net_null8", "mtu = 1\n");
  CHECK(h.add("q").starts_with("2 /dpdk-netback.toml:7: 'mtu' must be"));
  h.file("net_nul8");
  CHECK(h.add("q").starts_with("1 port 'q': device 'net_nul8': unknown driver"));
  h.directory.write("dpdk-netback.toml",
                    "lcores = [0, 1]\n[[port]]\nname = \"q\"\ndevice = \"net_null8\"\n"
                    "queue-pairs = 2\n");
  CHECK(h.add("q") ==
        "1 port 'q': device 'net_null8': 2 queue pairs for 1 workers (fix: queue-pairs = 1, or one "
        "for each that runs)");
  h.file("net_pcap8,rx_pcap=/nowhere/there");
  CHECK(h.add("q").find("cannot be opened") != std::string::npos);
  CHECK(h.ports.size() == 1);
  CHECK(h.config.ports.size() == 1);
  CHECK(h.remove("q") == "1 there is no port 'q' (fix: netbackctl port)");
  h.file("net_null8");
  CHECK(h.add("q") == "");
}

TEST_CASE("port_plug_a_device_or_a_bridge_is_one_port_s_also_when_the_file_has_changed") {
  Plugged h;
  h.directory.write("dpdk-netback.toml", "[[port]]\nname = \"q\"\ndevice = \"net_ring9,x=1\"\n");
  CHECK(h.add("q") ==
        "1 port 'q': device 'net_ring9' is port 'p' already (fix: netbackctl port remove p)");
  h.config.ports[0].bridge = "br0";
  h.directory.write("dpdk-netback.toml",
                    "[[port]]\nname = \"q\"\ndevice = \"net_tap8\"\nbridge = \"br0\"\n");
  CHECK(h.add("q") ==
        "1 port 'q': bridge 'br0' has port 'p' already (fix: netbackctl port remove p)");
  CHECK(h.ports.size() == 1);
}

TEST_CASE("port_plug_removes_a_port_without_vifs_once_its_worker_has_let_it_go") {
  Plugged h;
  REQUIRE(h.add("q") == "");
  h.settle();
  h.worker_runs = false;
  REQUIRE(h.remove("q") == "");
  CHECK(h.ports.size() == 1);
  CHECK(h.config.ports.size() == 1);
  REQUIRE(h.leaving.size() == 1);
  CHECK_FALSE(h.leaving[0]->queue().running.load());
  CHECK(Plugged::is_open("net_null8"));  // the worker may be in its driver
  CHECK(h.add("q") == "3 port 'q' is being removed (fix: try again)");
  h.worker_runs = true;
  h.settle();
  CHECK(h.leaving.empty());
  CHECK_FALSE(Plugged::is_open("net_null8"));
  int number = -1;  // another each time: frames of the one before may be on their way
  for (int i = 0; i < 100; ++i) {
    REQUIRE(h.add("q") == "");
    CHECK(h.ports[1]->queue().port != h.ports[0]->queue().port);
    CHECK(h.ports[1]->queue().port != std::exchange(number, h.ports[1]->queue().port));
    REQUIRE(h.remove("q") == "");
    h.settle();
  }
  CHECK(h.pool->free_buffers() == h.pool->buffers());
}

TEST_CASE("port_plug_keeps_a_port_whose_driver_gives_not_all_back") {
  Plugged h;
  h.file("net_memif8,role=server,socket-abstract=no,socket=" + h.path + "/memif.sock");
  REQUIRE(h.add("q") == "");
  CHECK(h.remove("q", true) ==
        "3 port 'q': what its driver has opened stays open until the daemon ends (fix: netbackctl "
        "stop --drain, and start the daemon without it)");
  CHECK(h.ports[1]->present());
  CHECK(h.devices.size() == 1);
}

TEST_CASE("port_plug_keeps_a_port_that_has_vifs_and_names_them") {
  Plugged h;
  REQUIRE(h.add("q") == "");
  const VifId id = h.vif_on_q(7);
  h.settle();
  h.connect(id);
  h.settle();
  CHECK(h.remove("q") ==
        "3 port 'q' has vifs: 7.0 (g7) (fix: detach them, or --force: it is as if"
        " its device had gone)");
  CHECK(h.ports[1]->queue().running.load());
  h.nodes.remove(ControlHost::backend(id));
  h.settle();
  CHECK(h.remove("q") == "");
}

TEST_CASE("port_plug_by_force_a_port_is_as_gone_until_it_is_added_again") {
  Plugged h;
  REQUIRE(h.add("q") == "");
  const VifId id = h.vif_on_q(7);
  h.settle();
  h.connect(id);
  h.settle();
  h.worker_runs = false;
  REQUIRE(h.remove("q", true) == "");
  CHECK(h.carrier(id) == "0");
  CHECK(h.link_of(1) == "removed");
  CHECK_FALSE(h.ports[1]->queue().running.load());
  CHECK(Plugged::is_open("net_null8"));
  CHECK(h.add("q") == "3 port 'q' is being removed (fix: try again)");
  CHECK(h.remove("q", true) == "3 port 'q' is being removed (fix: try again)");
  h.worker_runs = true;
  h.settle();
  CHECK_FALSE(Plugged::is_open("net_null8"));
  CHECK(h.remove("q", true) ==
        "3 port 'q' is removed; it stays for its vifs: 7.0 (g7) (fix: detach"
        " them, or add it again)");
  h.file("net_ring8");
  CHECK(h.add("q") ==
        "3 port 'q' has vifs and was a net_null (fix: detach them before it becomes another)");
  h.file("net_null7", "mtu = 1000\n");
  CHECK(h.add("q") ==
        "3 port 'q': mtu 1000 is less than that of vif 7.0, 1500 (fix: a larger mtu, or detach the"
        " vif)");
  h.file("net_null7,nonsense=1", "mtu = 1700\n");
  CHECK(h.add("q").find("cannot be opened") != std::string::npos);
  CHECK(h.ports[1]->config().mtu == 1500);  // as it was
  CHECK(h.ports[1]->device().name == "net_null8");
  h.file("net_null7", "mtu = 1800\n[[port]]\nname = \"r\"\ndevice = \"net_null8\"\n");
  REQUIRE(h.add("r") == "");  // its device is free
  h.file("net_null8");
  CHECK(h.add("q") ==
        "1 port 'q': device 'net_null8' is port 'r' already (fix: netbackctl port remove r)");
  REQUIRE(h.remove("r") == "");
  h.settle();
  h.file("net_null7", "mtu = 1800\n");
  REQUIRE(h.add("q") == "");
  CHECK(Plugged::is_open("net_null7"));
  CHECK(h.carrier(id) == "1");
  CHECK(h.link_of(1) == "up");
  CHECK(h.ports[1]->queue().running.load());
  CHECK(h.ports[1]->queue().can.frame_bytes_max == 1814);
  CHECK(h.config.ports[1].mtu == 1800);
  CHECK(h.state(id) == 4);
  REQUIRE(h.remove("q", true) == "");
  h.settle();
  h.nodes.remove(ControlHost::backend(id));
  h.settle();
  h.file("net_ring8");
  CHECK(h.add("q") ==
        "3 port 'q' was a net_null and is not closed (fix: netbackctl port remove q, then add it)");
  CHECK(h.remove("q") == "");  // the place that was kept for the vif
  h.settle();
  CHECK(h.ports.size() == 1);
  CHECK(h.leaving.empty());
}

TEST_CASE("port_plug_by_force_a_port_comes_back_with_the_queue_pairs_that_workers_have") {
  Plugged h;
  const std::vector<WorkerLink*> workers = {h.link.get(), h.link.get()};
  Forwarding to_two(workers);
  REQUIRE(to_two.attach_ports({&h.ports[0]->queue()}));
  PortPlug of_two(h.parts(workers, to_two));
  REQUIRE_FALSE(of_two.add("q"));
  CHECK(h.ports[1]->pairs().size() == 2);
  const VifId id = h.vif_on_q(7);
  h.settle();
  REQUIRE_FALSE(of_two.remove("q", true));
  h.settle();
  h.file("net_null8", "queue-pairs = 1\n");
  CHECK(h.text(of_two.add("q")) ==
        "3 port 'q' has vifs and was of 2 queue pairs (fix: detach them before it becomes "
        "another)");
  h.file("net_null8");
  CHECK_FALSE(of_two.add("q"));  // as many as before: nobody has asked for a number
  CHECK(h.ports[1]->pairs().size() == 2);
  CHECK(h.ports[1]->pairs()[1]->running.load());
  h.nodes.remove(ControlHost::backend(id));
  h.settle();
  CHECK_FALSE(of_two.remove("q", false));
  h.settle();
  CHECK(h.ports.size() == 1);
  CHECK(h.leaving.empty());
}
