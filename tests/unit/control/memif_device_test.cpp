#include "control/memif_device.hpp"

#include <catch2/catch.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>

#include "tests/unit/support/fake_root.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Place : FakeRoot {
  std::string socket = (path / "memif.sock").string();
  std::string server = "net_memif0,role=server,socket-abstract=no,socket=" + socket;
  std::string client = "net_memif0,role=client,socket-abstract=no,socket=" + socket;

  static std::string error(const std::string& device, uint32_t mtu = 1500) {
    const auto result = check_device({.name = "p", .device = device, .mtu = mtu, .bridge = ""});
    return result ? "" : with_fix_of(result.error());
  }
  static std::string with_fix_of(const Error& error) {
    const std::string text = error.message + (error.fix.empty() ? "" : " / " + error.fix);
    return text.substr(text.find("': ", text.find("device '")) + 3);
  }
};

// Listens on the path, or on the name if there is a 0 before it.
int listen_on(const std::string& name) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) == 0);
  REQUIRE(listen(fd, 1) == 0);
  return fd;
}

}  // namespace

TEST_CASE("memif_needs_a_role_and_words_that_the_driver_would_guess_at") {
  const Place place;
  CHECK(Place::error("net_memif0") ==
        "needs role=server or role=client / server: it makes the "
        "socket, and peers come and go");
  CHECK(Place::error("net_memif0,role=servers").starts_with("needs role="));
  CHECK(Place::error(place.server + ",zero-copy=maybe") == "zero-copy=maybe is neither yes nor no");
  CHECK(Place::error("net_memif0,role=server,socket-abstract=0") ==
        "socket-abstract=0 is neither yes nor no");
  CHECK(Place::error(place.server + ",zero-copy=yes") ==
        "with zero-copy=yes its peer could read and write all guests' frames / leave it out");
  CHECK(Place::error(place.server + ",zero-copy=no") == "");
}

TEST_CASE("memif_s_buffers_take_a_frame_each_and_more_than_ours") {
  const Place place;
  const auto device = check_device({.name = "p", .device = place.server, .bridge = ""});
  REQUIRE(device);
  CHECK(Result(device).value().arguments ==
        "role=server,socket-abstract=no,socket=" + place.socket + ",bsize=4096");
  CHECK_FALSE(Result(device).value().connects);
  CHECK(Result(device).value().for_good);
  CHECK_FALSE(Result(device).value().quirks->sends_chains);
  CHECK(Result(device).value().quirks->understates_mtu);
  CHECK(Place::error(place.server, 2030) == "");
  CHECK(Place::error(place.server, 2031) ==
        "mtu 2031 does not fit, at most 2030 / lower the port's mtu");
  CHECK(Place::error(place.server + ",bsize=2049") == "");
  CHECK(Place::error(place.server + ",bsize=65535") == "");
  for (const char* bytes : {"2048", "65536", "x"})
    CHECK(Place::error(place.server + ",bsize=" + bytes) ==
          std::string("bsize=") + bytes + " is not within 2049 to 65535 / leave it out: 4096");
}

TEST_CASE("memif_a_socket_s_directory_must_be_there_and_ours") {
  const Place place;
  const std::string before = "net_memif0,role=server,socket-abstract=no,socket=";
  CHECK(Place::error(before + place.path.string() + "/none/s") ==
        "cannot use the socket's directory " + place.path.string() +
            "/none: No such file or directory / mkdir " + place.path.string() + "/none");
  CHECK(Place::error(before + "s") == "socket=s is no path from / on");
  place.file("file");
  CHECK(Place::error(before + place.path.string() + "/file/s") ==
        "cannot use the socket's directory " + place.path.string() +
            "/file: Permission denied / give it to the daemon's user");
  const std::string longest = "/" + std::string(106, 'x');
  CHECK(Place::error("net_memif0,role=client,socket=" + longest) ==
        "socket=" + longest + " is longer than 107 bytes");
  CHECK(Place::error("net_memif0,role=server,socket=/none/s") == "");  // a name alone
}

TEST_CASE("memif_a_server_s_socket_is_nobody_else_s_and_what_a_killed_one_left_goes") {
  const Place place;
  const std::string in_use =
      place.socket + " is in use already / choose another socket=, or role=client";
  const int fd = listen_on(place.socket);
  CHECK(Place::error(place.server) == in_use);
  pollfd connection{.fd = fd, .events = POLLIN, .revents = 0};
  CHECK(poll(&connection, 1, 0) == 0);  // nobody has tried
  close(fd);
  CHECK(Place::error(place.server) == "");
  CHECK_FALSE(std::filesystem::exists(place.socket));
  place.file("memif.sock");  // somebody's data
  CHECK(Place::error(place.server) == in_use);
  CHECK(std::filesystem::exists(place.socket));
  const std::string name = "nb-memif-" + std::to_string(getpid());
  const int abstract = listen_on(std::string(1, 0) + name);
  CHECK(Place::error("net_memif0,role=server,socket=" + name) ==
        name + " is in use already / choose another socket=, or role=client");
  close(abstract);
  CHECK(Place::error("net_memif0,role=server,socket=" + name) == "");
}

TEST_CASE("memif_a_client_needs_a_socket_and_somebody_who_listens_or_another_than_before") {
  const Place place;
  const std::string none =
      "there is no socket " + place.socket + " / start its server first, or role=server";
  CHECK(Place::error(place.client) == none);
  place.file("memif.sock");
  CHECK(Place::error(place.client) == none);
  std::filesystem::remove(place.socket);
  const int fd = listen_on(place.socket);
  const auto checked = check_device({.name = "p", .device = place.client, .bridge = ""});
  REQUIRE(checked);
  const PortDevice device = Result(checked).value();
  CHECK(device.connects);
  CHECK_FALSE(device.for_good);
  const uint64_t inode = memif_socket_inode(device);
  CHECK(inode != 0);
  CHECK(memif_server_is_there(device, inode));
  close(fd);
  CHECK_FALSE(memif_server_is_there(device, inode));
  CHECK(memif_server_is_there(device, inode + 1));
  CHECK(Place::error(place.client) == "");
  CHECK(std::filesystem::exists(place.socket));  // its server's
  std::filesystem::remove(place.socket);
  CHECK_FALSE(memif_server_is_there(device, inode));
  CHECK(Place::error("net_memif0,role=client,socket=x") == "");
}
