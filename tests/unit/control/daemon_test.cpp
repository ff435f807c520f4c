// The daemon's steps, as far as they come in a process that has DPDK already.
#include "control/daemon.hpp"

#include <catch2/catch.hpp>

#include <signal.h>

#include "tests/unit/control/config_files.hpp"
#include "tests/unit/support/fake_root.hpp"
#include "tests/unit/support/fake_store.hpp"
#include "tests/unit/support/fake_xen.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr char null_port[] = "[[port]]\nname = \"p\"\ndevice = \"net_null0\"\n";

// A start blocks signals for good; these tests end them like others.
struct KeepsSignals {
  sigset_t before;
  KeepsSignals() { pthread_sigmask(SIG_SETMASK, nullptr, &before); }
  ~KeepsSignals() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
};

}  // namespace

TEST_CASE("seed_L1_a_daemon_that_cannot_start_DPDK_has_given_xen_and_its_lock_back") {
  const KeepsSignals signals;
  FakeStore& store = FakeStore::instance();
  FakeXen& xen = FakeXen::instance();
  store.reset();
  xen.reset();
  const auto store_handles = store.open_handles;
  const auto xen_handles = xen.open_handles;
  ConfigDirectory directory;
  directory.write("dpdk-netback.toml",
                  std::string("memory = \"hugepages\"\nmemory-mb = 1048576\n") + null_port);
  Daemon daemon({.config_directory = directory.path(),
                 .socket = directory.path_of("control.sock"),
                 .log_level = {}});
  Startup startup(daemon.steps());
  std::string message;
  CHECK(startup.run(message) == exit_code::failed);
  CHECK(message.starts_with("start DPDK: there are not 1048576 MB of free hugepages"));
  CHECK(store.open_handles == store_handles);
  CHECK(xen.open_handles == xen_handles);
  CHECK(InstanceLock::take(directory.path_of("control.sock.lock")));
}

TEST_CASE("daemon_a_lock_that_cannot_be_opened_is_a_failure_one_that_is_held_is_busy") {
  const KeepsSignals signals;
  ConfigDirectory directory;
  directory.write("dpdk-netback.toml", null_port);
  directory.write("file", "");
  const auto start = [&](const std::string& socket) {
    Daemon daemon({.config_directory = directory.path(), .socket = socket, .log_level = {}});
    std::string message;
    const int code = Startup(daemon.steps()).run(message);
    CHECK(message.starts_with("take instance lock: "));
    return code;
  };
  CHECK(start(directory.path_of("file/control.sock")) == exit_code::failed);
  const auto held = InstanceLock::take(directory.path_of("control.sock.lock"));
  REQUIRE(held);
  CHECK(start(directory.path_of("control.sock")) == exit_code::busy);
}

TEST_CASE("daemon_a_vif_may_name_the_last_cpu_when_no_file_says_which_is_the_worker_s") {
  ConfigDirectory directory;
  directory.write("dpdk-netback.toml", std::string(null_port) + "[defaults]\nnic = \"p\"\n");
  const auto config = read_all_config(directory.path());
  REQUIRE(config);
  const DaemonConfig daemon = Result(config).value();
  CHECK(daemon.lcores == std::vector{last_cpu()});
  VifConfig file;
  file.lcores = {{last_cpu()}};
  CHECK(effective_settings(file, {{"mac", "00:16:3e:00:00:01"}}, daemon));
  file.lcores = {{last_cpu() + 1}};
  CHECK_FALSE(effective_settings(file, {{"mac", "00:16:3e:00:00:01"}}, daemon));
}

TEST_CASE("daemon_the_ip_of_a_vif_s_file_locks_as_the_defaults_say") {
  ConfigDirectory directory;
  directory.write("vif.d/a.toml", "mac = \"00:16:3e:00:00:01\"\nip = \"the mail server\"\n");
  directory.write("dpdk-netback.toml", null_port);
  const auto refused = read_all_config(directory.path());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.starts_with(directory.path_of("vif.d/a.toml") + ":2: 'ip' must"));
  directory.write("dpdk-netback.toml", std::string(null_port) + "[defaults]\nlock-ip = false\n");
  CHECK(read_all_config(directory.path()));
}

TEST_CASE("daemon_DPDK_may_touch_the_PCI_devices_that_are_ports_and_no_others") {
  ConfigDirectory directory;
  directory.write("dpdk-netback.toml", std::string("lcores = [3, 5]\nmemory-mb = 77\n") +
                                           null_port +
                                           "[[port]]\nname = \"n\"\ndevice = \"7F:1f.7\"\n"
                                           "[[port]]\nname = \"o\"\ndevice = \"7f:1f.6,a=1\"\n");
  for (const char* address : {"0000:7f:1f.6", "0000:7f:1f.7"}) {
    const auto device = std::filesystem::path(directory.path()) / "sys/bus/pci/devices" / address;
    std::filesystem::create_directories(device);
    std::filesystem::create_symlink("../drivers/vfio-pci", device / "driver");
  }
  const auto config = read_all_config(directory.path());
  REQUIRE(config);
  const DaemonConfig daemon = Result(config).value();
  std::vector<PortDevice> devices;
  for (const auto& port : daemon.ports) {
    auto device = check_device(port, directory.path());
    REQUIRE(device);
    devices.push_back(std::move(device).value());
  }
  const EalOptions options = eal_options(daemon, devices, true);
  CHECK(options.pci_allowed == std::vector<std::string>{"0000:7f:1f.7", "0000:7f:1f.6,a=1"});
  CHECK(options.worker_cpus == std::vector<unsigned>{3, 5});
  CHECK(options.memory_mb == 77);
  CHECK(options.hugepages);
}

TEST_CASE("daemon_a_port_on_the_PCI_bus_needs_hugepages_others_do_not") {
  const FakeRoot root;
  root.link("sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/uio_pci_generic");
  const auto device = [&](const char* text) {
    return check_device({.name = "p", .device = text}, root.path).value();
  };
  CHECK(check_memory({}, false));
  CHECK(check_memory({device("net_null0")}, false));
  CHECK(check_memory({device("net_null0"), device("03:00.0")}, true));
  const Status refused = check_memory({device("net_null0"), device("03:00.0")}, false);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.starts_with("PCI device 0000:03:00.0 needs hugepages"));
  CHECK(refused.error().fix.starts_with("sysctl vm.nr_hugepages=N"));
}

TEST_CASE("daemon_large_buffers_are_shared_by_the_queue_pairs_that_receive_into_them") {
  const FakeRoot root;
  root.file("run/vhost.sock");
  std::vector<PortDevice> devices;
  for (const char* text : {"net_null0", "net_virtio_user0,path=/run/vhost.sock"})
    devices.push_back(
        check_device({.name = "p", .device = text, .bridge = "", .queue_pairs = 3}, root.path, 3)
            .value());
  count_large_pairs(devices);
  CHECK(devices[1].large_pairs == 3);
  devices.push_back(devices[1]);
  devices.back().queue_pairs = 1;
  count_large_pairs(devices);
  CHECK(devices[1].large_pairs == 4);
  devices.resize(1);
  count_large_pairs(devices);
  CHECK(devices[0].large_pairs == 1);
}
