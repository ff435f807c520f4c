// The process behind a lab: it owns the machine's memory, knows who lives, cleans up after the
// dead, runs xenstored and gives every domain its way to it.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/xenlab/abi/machine.hpp"
#include "lib/xenlab/tool/poller.hpp"
#include "lib/xenlab/tool/xenbus_device.hpp"

namespace xenlab {

class Hypervisor {
 public:
  // `xenstored`: the program and its options. `library`: the one that processes of the lab are
  // preloaded with. Throws std::system_error.
  Hypervisor(const std::string& directory, const std::vector<std::string>& xenstored,
             const std::string& library);
  ~Hypervisor();

  // Until SIGTERM, or until xenstored ends.
  void run();

 private:
  void make_domain_0();
  void listen();
  void start_xenstored(const std::vector<std::string>& command, const std::string& library);
  void take_signals();
  void accept_client();
  void serve(int connection);
  Answer answer(const Request& request, int connection);
  Answer join(const Request& request, int connection);
  Answer create();
  Answer destroy(uint32_t number);
  Answer arm(const Request& request);
  Answer pause_xenstore(uint32_t milliseconds);
  void client_gone(int connection);

  std::string directory_;
  Poller poller_;
  Here* here_;
  int listener_ = -1, signals_ = -1;
  pid_t xenstored_ = -1;
  std::map<int, uint32_t> clients_;                           // by connection; index
  std::map<uint32_t, std::unique_ptr<XenbusDevice>> xenbus_;  // by slot
};

}  // namespace xenlab
