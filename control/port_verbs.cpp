// The verbs of ports that come and go: "port-add" and "port-remove", each of a name.
#include "control/daemon.hpp"

namespace netback {

using Json = Requests::Json;
using Answer = Requests::Answer;

void Daemon::add_port_verbs() {
  requests_.add("port-add", [this](const Json& args) { return plug(args, true); });
  requests_.add("port-remove", [this](const Json& args) { return plug(args, false); });
}

// A port that is removed is there for as long as its worker takes: "leaving" says whether.
Answer Daemon::plug(const Json& args, bool add) {
  const auto found = args.find("port");
  if (found == args.end() || !found->is_string())
    return Requests::Refusal{exit_code::usage, {"which port? {\"port\": \"NAME\"}"}};
  if (draining_) return Requests::Refusal{exit_code::busy, {"the daemon is stopping"}};
  const auto name = found->get<std::string>();
  const bool force = args.value("force", Json(false)) == true;
  if (auto refused = add ? port_plug_->add(name) : port_plug_->remove(name, force)) return *refused;
  return Json{{"port", name}};
}

}  // namespace netback
