// A value or the reason why there is none. For operations that may fail (control path, start-up);
// frames have named drops instead, and broken invariants abort (check.hpp).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "lib/base/check.hpp"

namespace netback {

// What failed and, where the reader can do something about it, the fix. `busy` marks a refusal that
// goes away by itself (exit code 3 of the tools).
struct Error {
  std::string message;
  std::string fix = {};
  bool busy = false;
};

// "what: strerror(errno)".
Error errno_error(std::string what, std::string fix = {});

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT: implicit by intent
  Result(Error error) : state_(std::move(error)) {}  // NOLINT: implicit by intent

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }

  T& value() & {
    NETBACK_CHECK(ok());
    return std::get<T>(state_);
  }
  T&& value() && {
    NETBACK_CHECK(ok());
    return std::get<T>(std::move(state_));
  }
  const Error& error() const {
    NETBACK_CHECK(!ok());
    return std::get<Error>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace netback
