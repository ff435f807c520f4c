// Start-up as a list of named steps: when one fails, those before it are undone in reverse, and the
// process says which one and why (seed L1, L3).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/base/result.hpp"

namespace netback {

// Exit codes of the daemon and of netbackctl (design 10).
namespace exit_code {
inline constexpr int done = 0;
inline constexpr int failed = 1;
inline constexpr int usage = 2;   // usage or configuration
inline constexpr int busy = 3;    // refused
inline constexpr int nobody = 4;  // no daemon, or no Xen
}  // namespace exit_code

struct StartStep {
  std::string name;             // "open xenstore": reads well in "cannot start: open xenstore: ..."
  std::function<Status()> run;  // leaves nothing behind when it fails
  std::function<void()> undo = {};
  int exit_code = exit_code::failed;  // of the process, when it fails and nobody is busy
};

class Startup {
 public:
  explicit Startup(std::vector<StartStep> steps) : steps_(std::move(steps)) {}
  ~Startup() { undo(); }
  Startup(const Startup&) = delete;
  Startup& operator=(const Startup&) = delete;

  // Runs the steps in order. Returns exit_code::done, or that of the step that failed after undoing
  // those before it; `message` is then the line for the user.
  int run(std::string& message);
  // Undoes what was done, last first. Once; again is harmless.
  void undo();

 private:
  std::vector<StartStep> steps_;
  size_t done_ = 0;  // steps that ran
};

// "reason (fix: ...)", on one line.
std::string with_fix(const Error& error);

}  // namespace netback
