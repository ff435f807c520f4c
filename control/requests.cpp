#include "control/requests.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "control/quote.hpp"
#include "control/startup.hpp"

namespace netback {

Requests::Answer Requests::dispatch(const std::string& line) const {
  const Json request = Json::parse(line, nullptr, false);
  if (!request.is_object() || !request.contains("verb") || !request["verb"].is_string())
    return Refusal{exit_code::usage, {R"(not a request: {"verb": "...", "args": {...}})"}};
  const Json args = request.value("args", Json::object());
  if (!args.is_object()) return Refusal{exit_code::usage, {"\"args\" is not an object"}};
  const auto name = request["verb"].get<std::string>();
  const auto found = verbs_.find(name);
  if (found != verbs_.end()) return found->second(args);
  std::vector<std::string> names;
  for (const auto& [verb, action] : verbs_) names.push_back(verb);
  return Refusal{exit_code::usage,
                 {"unknown verb " + in_quotes(name, '\''),
                  fmt::format("use one of {}", fmt::join(names, ", "))}};
}

std::string Requests::answer(const std::string& line) const {
  const Answer answer = dispatch(line);
  Json out;
  if (const auto* refusal = std::get_if<Refusal>(&answer)) {
    out = {{"ok", false}, {"code", refusal->code}, {"error", refusal->error.message}};
    if (!refusal->error.fix.empty()) out["fix"] = refusal->error.fix;
  } else {
    out = {{"ok", true}, {"result", std::get<Json>(answer)}};
  }
  // Names of domains are whatever bytes their makers chose.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace netback
