// Requests on the control ring, whatever they are.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/netfront/frontend.hpp"

namespace netback {

// Each of `requests` is "TYPE,DATA0,DATA1,DATA2", numbers, or "page" for the reference of a page
// that begins with `page` (hexadecimal). "answers": [status, data] of each. "faults": requests that
// are no such, or were not answered.
nlohmann::json ask(Frontend& frontend, const std::string& page,
                   const std::vector<std::string>& requests);

// Bytes as people write them; those behind what is no hexadecimal are left out.
std::vector<uint8_t> bytes_of_hex(const std::string& text);

}  // namespace netback
