// A domain's /dev/xen/xenbus: its processes talk to xenstored over the domain's ring, with the
// domain's rights. Here it is a socket that libxenstore takes ($XENSTORED_PATH).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "lib/xenlab/abi/events.hpp"
#include "lib/xenlab/tool/poller.hpp"

struct xenstore_domain_interface;

namespace xenlab {

class XenbusDevice {
 public:
  // For the domain in `slot`, whose xenstore port nobody has used yet. Throws std::system_error.
  XenbusDevice(Here& here, Poller& poller, uint32_t slot);
  ~XenbusDevice();
  XenbusDevice(const XenbusDevice&) = delete;
  XenbusDevice& operator=(const XenbusDevice&) = delete;

  static std::string path(const std::string& directory, uint32_t domain_number);

 private:
  struct Message {
    uint32_t type, request, transaction;
    std::string body;
  };
  // A process that has the device open.
  struct Connection {
    int fd;
    std::string input, output;
    std::set<std::string> watches;  // "path\0token\0", the token as xenstored knows it
    std::set<uint32_t> transactions;
  };
  // A request on its way: whose, and by which number they know it.
  struct Waiting {
    uint32_t connection, request;
    Message sent;
  };

  void accept_process();
  void read_process(uint32_t id);
  void close_process(uint32_t id);
  void forward(uint32_t id, Message message);
  void send_to_store(uint32_t id, Message message);
  void move_bytes();  // between the ring and the queues
  void take_answer(const Message& message);
  void take_watch_event(const Message& message);
  void note_outcome(Connection& connection, const Waiting& waiting, const Message& answer);
  void answer_process(uint32_t id, const Message& message);
  void flush(uint32_t id);

  Here& here_;
  Poller& poller_;
  const uint32_t slot_;
  xenstore_domain_interface& ring_;
  OpenHandle events_;
  int listener_;
  std::string path_;
  uint32_t next_connection_ = 1, next_request_ = 1;
  std::map<uint32_t, Connection> connections_;
  std::map<uint32_t, Waiting> waiting_;  // by the request number that xenstored sees
  std::string to_store_, from_store_;    // bytes
};

}  // namespace xenlab
