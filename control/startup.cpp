#include "control/startup.hpp"

#include <fmt/format.h>

namespace netback {

std::string with_fix(const Error& error) {
  return error.fix.empty() ? error.message : fmt::format("{} (fix: {})", error.message, error.fix);
}

int Startup::run(std::string& message) {
  for (const StartStep& step : steps_) {
    if (const Status status = step.run(); !status) {
      message = fmt::format("{}: {}", step.name, with_fix(status.error()));
      undo();
      return status.error().busy ? exit_code::busy : step.exit_code;
    }
    ++done_;
  }
  return exit_code::done;
}

void Startup::undo() {
  while (done_ > 0) {
    const StartStep& step = steps_[--done_];
    if (step.undo) step.undo();
  }
}

}  // namespace netback
