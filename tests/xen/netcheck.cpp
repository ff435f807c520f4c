// Network checks that run inside guests and dom0: one static program, results as one line of JSON.
//
//   tcp-send HOST PORT BYTES [--seed=N] [--rate=BYTES_PER_S] [--hash=none]
//   tcp-recv PORT [--hash=none] [--timeout=S]     one connection, until its end
//   udp-echo PORT                                 answers until it is killed
//   udp-check HOST PORT SIZE|MIN-MAX COUNT        each datagram must come back unchanged
//   frames-send IFACE COUNT SIZE [--seed=N] [--rate=FRAMES_PER_S] [--dst=MAC]
//   frames-capture IFACE COUNT [--seed=N] [--timeout=S]   S seconds without a frame end it
//   group-recv GROUP PORT IFACE COUNT [--timeout=S]   a member until COUNT came, in order
//   group-send GROUP PORT IFACE COUNT [--rate=N]
//   link-events IFACE [--timeout=S]               until S seconds passed or a signal
//   keep-registers SECONDS [--seed=N]             whether others change its vector registers
// HOST may be IPv4 or IPv6. The bytes sent depend on the seed and their position only; those of a
// stream with --hash=none are its first 64 KiB again and again.
#include "netcheck.hpp"

#include <arpa/inet.h>
#include <linux/if_alg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace {

constexpr size_t piece_bytes = 64 * 1024;

// The kernel's SHA-256 (modules algif_hash and sha256); with --hash=none it costs nothing.
class Sha256 {
 public:
  static bool wanted() { return options["hash"] != "none"; }
  Sha256() {
    if (!wanted()) return;
    sockaddr_alg address{AF_ALG, "hash", 0, 0, "sha256"};
    const int parent = check(socket(AF_ALG, SOCK_SEQPACKET, 0), "AF_ALG (algif_hash loaded?)");
    check(bind(parent, reinterpret_cast<sockaddr*>(&address), sizeof address), "sha256");
    fd_ = check(accept(parent, nullptr, nullptr), "sha256");
  }
  void add(const uint8_t* data, size_t bytes) {
    if (fd_ >= 0 && send(fd_, data, bytes, MSG_MORE) != ssize_t(bytes)) fail("sha256");
  }
  std::string hex() {
    if (fd_ < 0) return "";
    uint8_t sum[32];
    send(fd_, nullptr, 0, 0);
    if (read(fd_, sum, sizeof sum) != sizeof sum) fail("sha256");
    char text[65];
    for (int i = 0; i < 32; i++) std::snprintf(text + 2 * i, 3, "%02x", sum[i]);
    return text;
  }

 private:
  int fd_ = -1;
};

// Everything runs on IPv6 sockets; an IPv4 host is written as ::ffff:HOST.
sockaddr_in6 address_of(const std::string& host, const std::string& port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(uint16_t(std::stoul(port)));
  const std::string text = host.find(':') == std::string::npos ? "::ffff:" + host : host;
  if (inet_pton(AF_INET6, text.c_str(), &address.sin6_addr) != 1) {
    throw std::invalid_argument(host);
  }
  return address;
}

int connected_socket(int type) {
  const sockaddr_in6 peer = address_of(words.at(0), words.at(1));
  const auto start = Clock::now();
  while (true) {
    const int fd = check(socket(AF_INET6, type, 0), "socket");
    if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0) return fd;
    if (seconds_since(start) > double(option("timeout", 10))) fail("connect");
    close(fd);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

int bound_socket(int type, const std::string& port) {
  const int fd = check(socket(AF_INET6, type, 0), "socket");
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in6 any = address_of("::", port);
  check(bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any), "bind");
  return fd;
}

void print_transfer(uint64_t bytes, Sha256& hash, Clock::time_point start) {
  std::printf("{\"bytes\": %llu, \"sha256\": \"%s\", \"seconds\": %.3f}\n",
              static_cast<unsigned long long>(bytes), hash.hex().c_str(), seconds_since(start));
}

int tcp_send() {
  const uint64_t total = std::stoull(words.at(2));
  const int fd = connected_socket(SOCK_STREAM);
  const auto start = Clock::now();
  std::vector<uint8_t> piece(piece_bytes);
  Sha256 hash;
  Pace pace;
  for (uint64_t at = 0; at < total;) {
    const size_t bytes = std::min<uint64_t>(piece_bytes, total - at);
    // Bytes that nobody checks are the first piece's again: making them takes a guest's CPU.
    if (at == 0 || Sha256::wanted()) fill(piece.data(), bytes, option("seed", 1), at / 8);
    hash.add(piece.data(), bytes);
    for (size_t done = 0; done < bytes;) {
      done += size_t(check(int(send(fd, &piece[done], bytes - done, MSG_NOSIGNAL)), "send"));
    }
    at += bytes;
    pace.wait_after(bytes);
  }
  shutdown(fd, SHUT_WR);
  check(int(read(fd, piece.data(), 1)), "close");  // the receiver has all of it
  print_transfer(total, hash, start);
  return 0;
}

int tcp_recv() {
  const int listener = bound_socket(SOCK_STREAM, words.at(0));
  check(listen(listener, 1), "listen");
  const uint64_t timeout_ms = option("timeout", 60) * 1000;
  if (!readable(listener, timeout_ms)) fail("accept: nobody came");
  const int fd = check(accept(listener, nullptr, nullptr), "accept");
  const auto start = Clock::now();
  give_up_after(fd, timeout_ms);
  std::vector<uint8_t> piece(piece_bytes);
  Sha256 hash;
  uint64_t total = 0;
  while (true) {
    const int bytes = int(read(fd, piece.data(), piece.size()));
    if (bytes < 0 && errno == EINTR) continue;  // of a guest that was saved
    check(bytes, "receive");
    if (bytes == 0) break;
    hash.add(piece.data(), size_t(bytes));
    total += uint64_t(bytes);
  }
  close(fd);
  print_transfer(total, hash, start);
  return 0;
}

int udp_echo() {
  const int fd = bound_socket(SOCK_DGRAM, words.at(0));
  uint8_t data[65536];
  while (true) {
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    auto* from = reinterpret_cast<sockaddr*>(&peer);
    const ssize_t bytes = recvfrom(fd, data, sizeof data, 0, from, &length);
    if (bytes >= 0) sendto(fd, data, size_t(bytes), 0, from, length);
  }
}

int udp_check() {
  const size_t dash = words.at(2).find('-');
  const size_t least = std::stoul(words[2]);
  const size_t most = dash == std::string::npos ? least : std::stoul(words[2].substr(dash + 1));
  const uint64_t count = std::stoull(words.at(3));
  const int fd = connected_socket(SOCK_DGRAM);
  uint64_t same = 0;
  uint64_t lost = 0;
  uint64_t changed = 0;
  std::vector<uint8_t> sent(most);
  uint8_t back[65536];
  for (uint64_t number = 0; number < count; number++) {
    const size_t size = least + number % (most - least + 1);
    fill(sent.data(), size, option("seed", 1), number * 8192);
    check(int(send(fd, sent.data(), size, 0)), "send");
    if (!readable(fd, option("timeout", 2) * 1000)) {
      lost++;
      continue;
    }
    const ssize_t bytes = recv(fd, back, sizeof back, 0);
    const bool equal = bytes == ssize_t(size) && std::memcmp(back, sent.data(), size) == 0;
    (equal ? same : changed)++;
  }
  print_json({{"same", same}, {"lost", lost}, {"changed", changed}});
  return same == count ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 2; i < count; i++) {
    const std::string word = arguments[i];
    const size_t equals = word.find('=');
    if (word.starts_with("--") && equals != std::string::npos) {
      options[word.substr(2, equals - 2)] = word.substr(equals + 1);
    } else {
      words.push_back(word);
    }
  }
  const std::map<std::string, int (*)()> verbs{
      {"tcp-send", tcp_send},       {"tcp-recv", tcp_recv},
      {"udp-echo", udp_echo},       {"udp-check", udp_check},
      {"frames-send", frames_send}, {"frames-capture", frames_capture},
      {"group-recv", group_recv},   {"group-send", group_send},
      {"link-events", link_events}, {"keep-registers", keep_registers}};
  try {
    return verbs.at(count > 1 ? arguments[1] : "")();
  } catch (const std::exception&) {  // an unknown verb, a missing or non-numeric word
    std::fputs("netcheck: see netcheck.cpp for its words\n", stderr);
    return 2;
  }
}
