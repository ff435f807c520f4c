// What a fuzz target has come to in its run. At the end of the process standard output has, for
// tests/support/suite-fuzz:
//   reached: NAME   of what was expected
//   missed: NAME    likewise, and never reached
//   said: MESSAGE   one message of each kind that came
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.hpp"

namespace netback::fuzz {

// `name` is to be reached by the end. Once, before reach().
void expect(std::string_view name);
// A name that is not expected is told too.
void reach(std::string_view name);

// An error that a person will read. It is one line without control characters, whatever its cause,
// and no longer than such a line may be.
void say(const Error& error);

}  // namespace netback::fuzz
