#include "control/multicast_control.hpp"

#include <filesystem>
#include <fstream>

#include "lib/base/log.hpp"

namespace netback {

void MulticastControl::begin(bool requested, bool resume) {
  known_ = !resume || restore();
  forget();  // should this process crash, what is in the file is not the list any more
  requested_ = requested;
  apply();
}

bool MulticastControl::request(const std::optional<std::string>& text) {
  requested_ = text == "1";
  apply();
  return !text || *text == "0" || *text == "1";
}

void MulticastControl::keep() const {
  if (file_.empty() || !known_) return;
  std::ofstream out(file_, std::ios::trunc);
  for (const rte_ether_addr& group : groups_.joined()) {
    char text[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_format_addr(text, sizeof text, &group);
    out << text << '\n';
  }
  out.close();
  if (out) return;
  log::warn("cannot write {}: after a restart its guest gets all multicast groups", file_);
  forget();
}

// The file is trusted no more than the guest is.
bool MulticastControl::restore() {
  std::ifstream in(file_);
  if (file_.empty() || !in) return false;
  for (std::string text; in >> text;) {
    rte_ether_addr group;
    if (rte_ether_unformat_addr(text.c_str(), &group) != 0 || !groups_.join(group)) return false;
  }
  return in.eof();
}

void MulticastControl::forget() const {
  std::error_code absent;
  if (!file_.empty()) std::filesystem::remove(file_, absent);
}

std::string_view MulticastControl::state() const {
  if (!requested_) return "off";
  if (!filtered_) return "unfiltered";
  return known_ ? "on" : "list lost";
}

}  // namespace netback
