// A host whose guests and port send single frames, and who has got what of them.
#pragma once

#include "tests/unit/support/test_host.hpp"

namespace netback::test {

struct ForwardingHost : TestHost {
  using Frames = std::vector<Bytes>;
  using TestHost::TestHost;

  void send(TestGuest& from, const Bytes& bytes) {
    from.put_frame(bytes, 1);
    from.from_guest.push();
    turn();
  }
  void arrive(const Bytes& bytes) {
    ports[0]->feed(bytes);
    turn();
  }
  // What each guest has got since the last call, by its number, and last the port.
  std::vector<Frames> got() {
    std::vector<Frames> all;
    for (auto& guest : guests) all.push_back(delivered(*guest));
    all.push_back(ports[0]->sent_bytes());
    return all;
  }
};

}  // namespace netback::test
