// Runs commands that arrive on a line: in dom0 a virtio port, in a guest its console. A request is
// "@?ID SECONDS COMMAND_BYTES INPUT_BYTES\n" and those bytes; the answer is "@!ID STATUS
// OUTPUT_BYTES\n" and those bytes. Requests run side by side, so a long transfer does not keep the
// next command waiting. Whatever else is on the line (kernel messages) is skipped.
//
//   xen-agent serve TTY              the server; says "@!READY\n" first
//   xen-agent ready TTY SECONDS      waits for that word
//   xen-agent ask TTY ID SECONDS     sends standard input as it is (a whole request), prints the
//                                    output of answer ID, exits with its status
// Exit statuses of our own: 124 the command took too long, 254 no answer came.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

using Clock = std::chrono::steady_clock;
constexpr off_t output_bytes_max = 4 << 20;
constexpr int status_timeout = 124;
constexpr int status_no_answer = 254;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "xen-agent: %s: %s\n", what, std::strerror(errno));
  std::exit(status_no_answer);
}

int open_raw(const char* path) {
  const int tty = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (tty < 0) fail(path);
  termios settings{};
  if (tcgetattr(tty, &settings) == 0) {
    cfmakeraw(&settings);
    cfsetspeed(&settings, B115200);
    settings.c_cflag |= CLOCAL | CREAD;
    tcsetattr(tty, TCSANOW, &settings);
  }
  return tty;
}

bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// The line as a buffered stream of bytes with a deadline for each wait.
class Reader {
 public:
  Reader(int fd, Clock::time_point deadline) : fd_(fd), deadline_(deadline) {}

  bool byte(char& out) {
    if (begin_ == end_ && !fill()) return false;
    out = buffer_[begin_++];
    return true;
  }
  bool bytes(size_t count, std::string& out) {
    char next = 0;
    while (count-- > 0) {
      if (!byte(next)) return false;
      out += next;
    }
    return true;
  }
  // The rest of the line after `marker`; what comes before it goes to `noise`.
  bool line_after(std::string_view marker, std::string& line, std::string& noise) {
    line.clear();
    std::string seen;
    char next = 0;
    while (byte(next)) {
      seen += next;
      if (!std::string_view(seen).ends_with(marker)) continue;
      noise += seen.substr(0, seen.size() - marker.size());
      while (byte(next)) {
        if (next == '\n') return true;
        line += next;
      }
      return false;
    }
    noise += seen;
    return false;
  }

 private:
  bool fill() {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
    const int wait_ms = deadline_ == Clock::time_point::max()
                            ? -1
                            : static_cast<int>(std::max<int64_t>(left.count(), 0));
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, wait_ms) <= 0) return false;
    const ssize_t count = read(fd_, buffer_, sizeof buffer_);
    if (count <= 0) return false;
    begin_ = 0;
    end_ = static_cast<size_t>(count);
    return true;
  }

  int fd_;
  Clock::time_point deadline_;
  char buffer_[65536];
  size_t begin_ = 0;
  size_t end_ = 0;
};

struct Request {
  std::string id;
  int seconds = 0;
  std::string command;
  std::string input;
};

bool read_request(Reader& reader, Request& request) {
  std::string line;
  std::string noise;
  if (!reader.line_after("@?", line, noise)) return false;
  char id[64] = "";
  size_t command_bytes = 0;
  size_t input_bytes = 0;
  if (std::sscanf(line.c_str(), "%63s %d %zu %zu", id, &request.seconds, &command_bytes,
                  &input_bytes) != 4) {
    return true;  // an empty id: not a request
  }
  request.id = id;
  return reader.bytes(command_bytes, request.command) && reader.bytes(input_bytes, request.input);
}

[[noreturn]] void become_command(const Request& request, int input, int output) {
  setsid();
  dup2(input, 0);
  dup2(output, 1);
  dup2(output, 2);
  execl("/bin/sh", "sh", "-c", request.command.c_str(), nullptr);
  _exit(127);
}

// Output goes to a file, not a pipe: a background process that keeps its end open delays nothing.
int run_command(const Request& request, int input, int output) {
  const pid_t child = fork();
  if (child == 0) become_command(request, input, output);
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  pollfd wait{handle, POLLIN, 0};
  const bool ended = poll(&wait, 1, request.seconds * 1000) > 0;
  if (!ended) kill(-child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (!ended) return status_timeout;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void answer(int tty, int turn, const Request& request) {
  const int input = memfd_create("input", MFD_CLOEXEC);
  const int output = memfd_create("output", MFD_CLOEXEC);
  if (input < 0 || output < 0 || !write_all(input, request.input)) fail("memfd");
  lseek(input, 0, SEEK_SET);
  fcntl(output, F_SETFL, O_APPEND);
  const int status = run_command(request, input, output);

  struct stat file {};
  fstat(output, &file);
  const off_t bytes = std::min(file.st_size, output_bytes_max);
  std::string text(static_cast<size_t>(bytes), '\0');
  const ssize_t got = pread(output, text.data(), text.size(), file.st_size - bytes);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));

  struct flock whole {};
  whole.l_type = F_WRLCK;
  fcntl(turn, F_SETLKW, &whole);  // one answer at a time on the line
  write_all(tty, "@!" + request.id + " " + std::to_string(status) + " " +
                     std::to_string(text.size()) + "\n" + text);
}

int serve(const char* path) {
  const int tty = open_raw(path);
  const int turn = memfd_create("turn", MFD_CLOEXEC);
  signal(SIGCHLD, SIG_IGN);
  write_all(tty, "@!READY\n");
  Reader reader(tty, Clock::time_point::max());
  while (true) {
    Request request;
    if (!read_request(reader, request)) return 1;
    if (request.id.empty() || fork() != 0) continue;
    signal(SIGCHLD, SIG_DFL);
    answer(tty, turn, request);
    _exit(0);
  }
}

int give_up(const std::string& noise) {
  write_all(1, noise);
  return status_no_answer;
}

int ready(const char* path, int seconds) {
  Reader reader(open_raw(path), Clock::now() + std::chrono::seconds(seconds));
  std::string noise;
  std::string line;
  return reader.line_after("@!READY", line, noise) ? 0 : give_up(noise);
}

int ask(const char* path, const char* id, int seconds) {
  std::string request;
  char piece[65536];
  for (ssize_t count = 0; (count = read(0, piece, sizeof piece)) > 0;) {
    request.append(piece, static_cast<size_t>(count));
  }
  const int tty = open_raw(path);
  if (!write_all(tty, request)) fail("write");
  Reader reader(tty, Clock::now() + std::chrono::seconds(seconds));
  std::string line;
  std::string noise;
  std::string output;
  int status = 0;
  size_t bytes = 0;
  while (reader.line_after(std::string("@!") + id + " ", line, noise)) {
    if (std::sscanf(line.c_str(), "%d %zu", &status, &bytes) != 2) continue;
    if (!reader.bytes(bytes, output)) break;
    write_all(1, output);
    return status;
  }
  return give_up(noise + output);
}

}  // namespace

int main(int count, char** words) {
  const std::string_view verb = count > 1 ? words[1] : "";
  if (verb == "serve" && count == 3) return serve(words[2]);
  if (verb == "ready" && count == 4) return ready(words[2], std::atoi(words[3]));
  if (verb == "ask" && count == 5) return ask(words[2], words[3], std::atoi(words[4]));
  std::fputs("usage: xen-agent serve TTY | ready TTY SECONDS | ask TTY ID SECONDS\n", stderr);
  return 2;
}
