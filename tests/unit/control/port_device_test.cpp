#include "control/port_device.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/fake_root.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Root : FakeRoot {
  Result<PortDevice> check(const std::string& device, uint32_t mtu = 1500,
                           const std::string& bridge = "") const {
    return check_device({.name = "p", .device = device, .mtu = mtu, .bridge = bridge}, path);
  }
  std::string error(const std::string& device, uint32_t mtu = 1500,
                    const std::string& bridge = "") const {
    const auto result = check(device, mtu, bridge);
    return result ? "" : result.error().message + " / " + result.error().fix;
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string virtio = "net_virtio_user0,path=/dev/vhost-net";

}  // namespace

TEST_CASE("seed_S07_an_unknown_driver_is_refused_with_those_that_there_are") {
  const Root root;
  CHECK(has(root.error("net_nul0"), "unknown driver"));
  CHECK(has(root.error("net_nul0"), "net_null"));
  CHECK(has(root.error("pci"), "unknown driver"));
}

TEST_CASE("port_device_name_and_arguments_are_split") {
  const Root root;
  auto device = root.check("net_null12,size=64,no-rx=1");
  REQUIRE(device);
  CHECK(device.value().name == "net_null12");
  CHECK(device.value().arguments == "size=64,no-rx=1");
  CHECK(device.value().quirks->driver == "net_null");
  CHECK(root.check("net_ring0").value().arguments.empty());
}

TEST_CASE("port_device_only_virtio_user_wakes_a_thread_for_each_burst") {
  const Root root;
  root.file("run/vhost.sock");
  const std::string device = "net_virtio_user0,path=/run/vhost.sock";
  CHECK(held_buffers_max(root.check(device).value(), 1024) == 128);
  CHECK(held_buffers_max(root.check(device + ",queue_size=1024").value(), 1024) == 512);
  CHECK(held_buffers_max(root.check(device + ",queue_size=1024").value(), 256) == 128);
  CHECK(held_buffers_max(root.check("net_null0").value(), 1024) == 0);
}

TEST_CASE("port_device_a_null_port_does_not_make_frames_of_its_own_unless_told_to") {
  const Root root;
  CHECK(root.check("net_null0").value().arguments == "no-rx=1");
  CHECK(root.check("net_null0,size=64").value().arguments == "size=64,no-rx=1");
  CHECK(root.check("net_null0,no-rx=0").value().arguments == "no-rx=0");
}

TEST_CASE("port_device_only_a_null_port_that_makes_no_frames_never_hands_out_one") {
  const Root root;
  CHECK_FALSE(root.check("net_null0").value().receives());
  CHECK(root.check("net_null0,no-rx=0").value().receives());
  CHECK(root.check("net_ring0").value().receives());
}

TEST_CASE("port_device_an_argument_is_found_by_its_whole_key") {
  CHECK(device_argument("iface=a,mac=b", "mac") == "b");
  CHECK(device_argument("iface=a,mac=b", "iface") == "a");
  CHECK(device_argument("xiface=a", "iface").empty());
  CHECK(device_argument("ifacex=a", "iface").empty());
  CHECK(device_argument("iface", "iface").empty());
  CHECK(device_argument("", "iface").empty());
}

TEST_CASE("port_device_pci_in_a_pv_domain_is_refused_elsewhere_not") {
  const Root root;
  root.file("sys/hypervisor/guest_type", "PV\n");
  CHECK(has(root.error("0000:03:00.0"), "other guests' memory"));
  CHECK(has(root.error("03:00.0"), "other guests' memory"));
  root.file("sys/hypervisor/guest_type", "PVH\n");
  root.link("sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/uio_pci_generic");
  CHECK(root.error("0000:03:00.0") == "");
}

TEST_CASE("port_device_a_PCI_address_is_written_as_DPDK_does") {
  const Root root;
  root.link("sys/bus/pci/devices/0000:0a:1f.7/driver", "../drivers/vfio-pci");
  root.link("sys/bus/pci/devices/10000:0a:1f.7/driver", "../drivers/vfio-pci");
  CHECK(root.check("0000:0a:1f.7").value().name == "0000:0a:1f.7");
  CHECK(root.check("0A:1F.7").value().name == "0000:0a:1f.7");
  CHECK(root.check("00010000:0a:1F.7,a=1").value().name == "10000:0a:1f.7");
  CHECK(root.check("0a:1f.7,a=1,b=2").value().arguments == "a=1,b=2");
}

TEST_CASE("seed_S07_a_PCI_device_is_there_and_bound_to_a_driver_that_leaves_it_to_us") {
  const Root root;
  const std::string driver = "sys/bus/pci/devices/0000:03:00.0/driver";
  CHECK(root.error("03:00.0") ==
        "port 'p': device '03:00.0': there is no such PCI device / ls /sys/bus/pci/devices");
  root.file("sys/bus/pci/devices/0000:03:00.0/class", "0x020000");
  CHECK(root.error("03:00.0") ==
        "port 'p': device '03:00.0': it is bound to no driver / "
        "dpdk-devbind.py -b uio_pci_generic 0000:03:00.0");
  root.link(driver, "../drivers/e1000e");
  CHECK(has(root.error("03:00.0"), ": it is bound to the kernel's driver e1000e / dpdk-devbind"));
  for (const std::string name : {"uio_pci_generic", "vfio-pci", "igb_uio"}) {
    root.link(driver, "../drivers/" + name);
    CHECK(root.error("03:00.0") == "");
  }
}

TEST_CASE("port_device_vhost_net_that_is_not_there_is_named_with_the_fix") {
  const Root root;
  CHECK(has(root.error(virtio), "/dev/vhost-net: No such file"));
  CHECK(has(root.error(virtio), "modprobe vhost_net"));
  CHECK(has(root.error("net_virtio_user0"), "needs path="));
  root.file("dev/vhost-net");
  CHECK(has(root.error(virtio), "modprobe tun"));
  root.file("dev/net/tun");
  CHECK(root.error(virtio) == "");
}

TEST_CASE("port_device_a_tap_without_a_name_gets_the_same_one_at_each_start") {
  const Root root;
  root.file("dev/vhost-net");
  root.file("dev/net/tun");
  auto device = root.check(virtio, 1500, "br0");
  REQUIRE(device);
  CHECK(device.value().iface == "nb-p");
  CHECK(device_argument(device.value().arguments, "iface") == "nb-p");
  CHECK(root.check(virtio + ",iface=t7").value().iface == "t7");
  CHECK(has(root.error(virtio + ",iface=sixteen-letters-"), "too long"));
  root.file("sys/class/net/t7/type", "1");
  CHECK(has(root.error(virtio + ",iface=t7"), "is not a tap"));
}

TEST_CASE("port_device_a_tap_on_a_bridge_has_the_same_mac_at_each_start") {
  const Root root;
  root.file("dev/vhost-net");
  root.file("dev/net/tun");
  const auto mac = [&](const std::string& device, const std::string& bridge) {
    return device_argument(root.check(device, 1500, bridge).value().arguments, "mac");
  };
  CHECK(mac(virtio + ",iface=t7", "br0") == "fe:ff:ff:ff:ff:ff");
  CHECK(mac("net_tap0,iface=t7", "br0") == "fe:ff:ff:ff:ff:ff");
  CHECK(mac(virtio + ",iface=t7,mac=02:00:00:00:00:01", "br0") == "02:00:00:00:00:01");
  CHECK(mac(virtio + ",iface=t7", "") == "");
}

TEST_CASE("port_device_a_vhost_user_socket_has_no_tap_and_so_no_bridge") {
  const Root root;
  root.file("run/vhost.sock");
  CHECK(root.error("net_virtio_user0,path=/run/vhost.sock") == "");
  const std::string device = "net_virtio_user0,path=/run/vhost.sock";
  CHECK(has(root.error(device, 1500, "br0"), "kernel tap"));
  CHECK(has(root.error(device + ",iface=t7", 1500, "br0"), "kernel tap"));
  CHECK(root.check(device + ",iface=t7").value().iface.empty());
  CHECK(has(root.error("net_null0", 1500, "br0"), "kernel tap"));
}

TEST_CASE("seed_S07_af_packet_needs_an_interface_that_is_there_and_is_Ethernet") {
  const Root root;
  CHECK(has(root.error("net_af_packet0"), "needs iface="));
  CHECK(has(root.error("net_af_packet0,iface=v0"), "there is no interface v0"));
  root.file("sys/class/net/v0/type", "772");
  CHECK(has(root.error("net_af_packet0,iface=v0"), "not Ethernet"));
  root.file("sys/class/net/v0/type", "1");
  CHECK(root.error("net_af_packet0,iface=v0") == "");
}

TEST_CASE("port_device_af_packet_s_ring_is_made_to_fit_or_the_mtu_refused") {
  const Root root;
  root.file("sys/class/net/v0/type", "1");
  const std::string device = "net_af_packet0,iface=v0";
  const std::string arguments = root.check(device).value().arguments;
  CHECK(arguments == "iface=v0,framesz=2048,blocksz=4096,framecnt=1024");
  CHECK(root.error(device, 1964) == "");  // 2048 - 66 - 14 - 4
  CHECK(has(root.error(device, 1965), "at most 1964"));
  CHECK(has(root.error(device + ",framesz=1024"), "at most 940"));
  CHECK(root.error(device + ",framesz=1024", 940) == "");
  CHECK(has(root.error(device + ",framesz=1000"), "multiple of 16"));
  CHECK(has(root.error(device + ",framesz=4096"), "multiple of 16 up to 2048"));
  CHECK(has(root.error(device + ",framesz=x"), "not a number"));
  CHECK(has(root.error(device + ",framesz=0"), "multiple of 16"));
  CHECK(has(root.error(device + ",blocksz=5000"), "does not fit"));
  CHECK(has(root.error(device + ",framecnt=3"), "does not fit"));
  CHECK(has(root.error(device + ",framecnt=0"), "does not fit"));
}

TEST_CASE("port_device_an_mtu_that_no_frame_can_have_is_refused") {
  const Root root;
  CHECK(root.error("net_null0", 68) == "");
  CHECK(has(root.error("net_null0", 67), "mtu 67"));
  CHECK(root.error("net_null0", 65517) == "");
  CHECK(has(root.error("net_null0", 65518), "mtu 65518"));
  root.file("sys/class/net/v0/type", "1");
  CHECK(has(root.error("net_af_xdp0,iface=v0", 1775), "at most 1774"));
  CHECK(root.error("net_af_xdp0,iface=v0", 1774) == "");
}

TEST_CASE("port_device_drivers_that_lie_are_not_believed") {
  const Root root;
  root.file("sys/class/net/v0/type", "1");
  CHECK_FALSE(root.check("net_af_xdp0,iface=v0").value().quirks->sends_chains);
  CHECK_FALSE(root.check("net_af_packet0,iface=v0").value().quirks->completes_checksums);
  CHECK(root.check("net_null0").value().quirks->sends_chains);
  // Segmentation, of both versions and with right checksums, is what few have.
  root.file("dev/vhost-net");
  root.file("dev/net/tun");
  for (const char* device : {"net_null0", "net_ring0", "net_af_packet0,iface=v0", "net_pcap0",
                             "net_af_xdp0,iface=v0", "net_tap0,iface=t7"}) {
    INFO(device);
    CHECK_FALSE(root.check(device).value().quirks->segments);
    CHECK_FALSE(root.check(device).value().quirks->gives_large);
  }
  CHECK(root.check(virtio).value().quirks->segments);
  CHECK(root.check(virtio).value().quirks->gives_large);
  root.link("sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/vfio-pci");
  CHECK(root.check("03:00.0").value().quirks->segments);
  CHECK_FALSE(root.check("03:00.0").value().quirks->gives_large);
}

TEST_CASE("port_device_af_xdp_gives_not_all_back_that_it_has_opened") {
  const Root root;
  root.file("sys/class/net/v0/type", "1");
  CHECK(root.check("net_af_xdp0,iface=v0").value().for_good);
  CHECK_FALSE(root.check("net_af_packet0,iface=v0").value().for_good);
  CHECK_FALSE(root.check("net_null0").value().for_good);
}

TEST_CASE("port_device_virtio_rings_are_as_long_as_the_argument_says_or_256") {
  PortDevice device{};
  device.arguments = "path=/dev/vhost-net,queue_size=1024,iface=a";
  CHECK(virtio_ring_slots(device) == 1024);
  device.arguments = "path=/dev/vhost-net,queue_size=0x200";
  CHECK(virtio_ring_slots(device) == 512);
  device.arguments = "path=/dev/vhost-net,iface=a";
  CHECK(virtio_ring_slots(device) == 256);
  device.arguments = "queue_size=65536";
  CHECK(virtio_ring_slots(device) == 256);
}

TEST_CASE("port_device_queue_pairs_are_as_the_driver_is_known_to_keep_order_or_as_asked") {
  const Root root;
  root.file("sys/class/net/v0/type", "1");
  root.file("dev/vhost-net");
  root.file("dev/net/tun");
  root.link("sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/vfio-pci");
  const auto pairs = [&](const std::string& device, uint16_t workers,
                         std::optional<uint32_t> asked = {}) {
    const auto checked = check_device(
        {.name = "p", .device = device, .bridge = "", .queue_pairs = asked}, root.path, workers);
    return checked ? std::to_string(Result(checked).value().queue_pairs)
                   : checked.error().message + " / " + checked.error().fix;
  };
  for (const char* device : {"net_null0", "net_ring0", "03:00.0"}) {
    CHECK(pairs(device, 1) == "1");
    CHECK(pairs(device, 3) == "3");
    CHECK(pairs(device, 3, 1) == "1");
  }
  for (const std::string& device : {std::string("net_tap0,iface=t7"), virtio}) {
    CHECK(pairs(device, 3) == "1");
    CHECK(pairs(device, 3, 3) == "3");
  }
  for (const char* device : {"net_af_packet0,iface=v0", "net_af_xdp0,iface=v0", "net_pcap0"}) {
    CHECK(pairs(device, 3) == "1");
    CHECK(has(pairs(device, 3, 3), "its driver has one queue pair, not 3 / queue-pairs = 1"));
  }
}

TEST_CASE("port_device_virtio_user_is_told_how_many_queue_pairs_it_has") {
  const Root root;
  root.file("dev/vhost-net");
  root.file("dev/net/tun");
  const auto arguments = [&](const std::string& more, std::optional<uint32_t> asked) {
    const auto checked = check_device(
        {.name = "p", .device = virtio + ",iface=t7" + more, .bridge = "", .queue_pairs = asked},
        root.path, 2);
    return checked ? Result(checked).value().arguments
                   : checked.error().message + " / " + checked.error().fix;
  };
  const std::string as_given = "path=/dev/vhost-net,iface=t7";
  CHECK(arguments("", {}) == as_given);
  CHECK(arguments("", 2) == as_given + ",queues=2,cq=1");
  CHECK(arguments(",queues=4,cq=1", 2) == as_given + ",queues=4,cq=1");
  CHECK(has(arguments(",queues=1", 2), "it has 1 of 2 queue pairs / leave out queues="));
  CHECK(has(arguments(",queues=x", 2), "queues=x is not a number"));
  CHECK(arguments(",queues=1", {}) == as_given + ",queues=1");
  CHECK(arguments(",cq=0", 2) == as_given + ",cq=0,queues=2");  // the driver says what it thinks
  const auto tap = check_device(
      {.name = "p", .device = "net_tap0,iface=t7", .bridge = "", .queue_pairs = 2}, root.path, 2);
  REQUIRE(tap);
  CHECK(Result(tap).value().arguments == "iface=t7");  // it needs no telling
}

TEST_CASE("port_device_ports_share_a_quarter_of_the_large_buffers_or_have_none") {
  CHECK(large_receive_slots(2048, 1) == 512);
  CHECK(large_receive_slots(2048, 2) == 256);
  CHECK(large_receive_slots(2048, 16) == 32);
  CHECK(large_receive_slots(2048, 17) == 0);
  CHECK(large_receive_slots(64, 1) == 0);
  CHECK(large_receive_slots(8192, 1) == 1024);
}
