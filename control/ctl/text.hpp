// The JSON answers as text for people. Pure; each returns whole lines.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "control/ctl/rates.hpp"

namespace netback::ctl {

// Columns as wide as their widest cell; numbers to the right, words to the left.
class Table {
 public:
  explicit Table(std::vector<std::string> heads);
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.size() == 1; }
  std::string text(bool bold_heads = false) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the first holds the heads
};

// 1234567 as "1,234,567"; rates that round to 0 as "0".
std::string grouped(double number);

std::string info_text(const Json& info);
std::string list_text(const Json& list);
std::string show_text(const Json& vif);
// Every counter that is not 0; with `all` those too.
std::string stats_text(const Json& stats, bool all);
std::string ports_text(const Json& ports);
// The live table.
std::string rates_text(const Rates& rates, bool bold_heads);

}  // namespace netback::ctl
