// What the machine says before a start, from files of our own.
#include "control/host.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/fake_root.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr char pages_2m[] = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
constexpr char pages_1g[] = "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages";

bool available(const FakeRoot& root, uint32_t memory_mb) {
  return hugepages_available(memory_mb, root.path);
}

}  // namespace

TEST_CASE("host_hugepages_are_there_when_enough_of_them_are_free_and_a_hugetlbfs_is_mounted") {
  const FakeRoot root;
  root.file("proc/mounts", "none / ext4 rw 0 0\nnone /dev/hugepages hugetlbfs rw 0 0\n");
  CHECK_FALSE(available(root, 256));
  root.file(pages_2m, "127\n");
  CHECK_FALSE(available(root, 256));
  root.file(pages_2m, "128\n");
  CHECK(available(root, 256));
  CHECK_FALSE(available(root, 257));
  root.file(pages_1g, "1\n");
  CHECK(available(root, 256 + 1024));
  root.file("proc/mounts", "none / ext4 rw 0 0\n");
  CHECK_FALSE(available(root, 256));
}

TEST_CASE("host_the_kernel_s_backend_is_found_as_a_module_and_built_in") {
  const FakeRoot root;
  root.file("proc/modules", "xen_netfront 1 0\n");
  CHECK(check_no_kernel_netback(root.path));
  root.file("proc/modules", "xen_netfront 1 0\nxen_netback 1 0\n");
  const Status loaded = check_no_kernel_netback(root.path);
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().busy);
  root.file("proc/modules", "");
  root.file("sys/bus/xen-backend/drivers/vif/bind");
  CHECK_FALSE(check_no_kernel_netback(root.path));
}

TEST_CASE("host_a_lock_is_held_by_one_and_says_which_to_the_other") {
  const FakeRoot root;
  const std::string path = root.path / "run/netback/control.sock.lock";
  {
    const auto first = InstanceLock::take(path);
    REQUIRE(first);
    const auto second = InstanceLock::take(path);
    REQUIRE_FALSE(second);
    CHECK(second.error().busy);
    CHECK(second.error().message ==
          "another dpdk-netback runs here, process " + std::to_string(getpid()));
  }
  CHECK(InstanceLock::take(path));
}

TEST_CASE("host_a_lock_that_cannot_be_opened_is_held_by_nobody") {
  const FakeRoot root;
  root.file("run/netback", "a file where a directory should be");
  const auto lock = InstanceLock::take(root.path / "run/netback/control.sock.lock");
  REQUIRE_FALSE(lock);
  CHECK_FALSE(lock.error().busy);
  CHECK(lock.error().message.starts_with("cannot open "));
}
