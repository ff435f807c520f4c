// The verbs of the control socket: {"verb": V, "args": {..}} in, {"ok": true, "result": R} or
// {"ok": false, "code": N, "error": E, "fix": F} out; `code` is netbackctl's exit code.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <map>
#include <string>

#include "lib/base/result.hpp"

namespace netback {

class Requests {
 public:
  using Json = nlohmann::ordered_json;
  struct Refusal {
    int code;
    Error error;
  };
  using Answer = std::variant<Json, Refusal>;
  using Verb = std::function<Answer(const Json& args)>;

  void add(std::string verb, Verb action) { verbs_[std::move(verb)] = std::move(action); }

  // One line in, one line out. Bad input is answered, whatever it is.
  std::string answer(const std::string& line) const;

 private:
  Answer dispatch(const std::string& line) const;
  std::map<std::string, Verb> verbs_;
};

}  // namespace netback
