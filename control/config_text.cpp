#include "control/config_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>

#include "control/quote.hpp"
#include "control/rate_text.hpp"

namespace netback {

namespace {

constexpr size_t typing_errors_max = 2;  // further away it is another word

// A value as its writer would recognise it.
std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return in_quotes(text->get());
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (node.is_array()) return "a list";
  if (node.is_table()) return "a table";
  return "a date or time";
}

// How many characters must be inserted, removed or changed to turn one into the other.
size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < to.size(); ++j) {
      const size_t changed = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

Result<toml::table> read_toml(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return errno_error(file);
  try {
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    return toml::parse(text, file);
  } catch (const std::ios_base::failure&) {
    return errno_error(file);
  } catch (const toml::parse_error& error) {
    return Error{fmt::format("{}:{}: {}", file, error.source().begin.line,
                             on_one_line(error.description()))};
  }
}

void Problems::add(uint32_t line, std::string what) {
  if (line >= first_line_) return;
  first_line_ = line;
  first_ = std::move(what);
}

Error Problems::first() const {
  return {fmt::format("{}:{}: {}", file_, first_line_, first_)};
}

const toml::node* TableReader::ask(std::string_view key) {
  known_.push_back(key);
  return table_.get(key);
}

void TableReader::problem_at(std::string_view key, std::string what) {
  problems_.add(table_.get(key)->source().begin.line, std::move(what));
}

void TableReader::wrong_type(std::string_view key, std::string_view wanted) {
  problem_at(key, fmt::format("'{}' must be {}, not {}", key, wanted, shown(*table_.get(key))));
}

std::optional<bool> TableReader::truth(std::string_view key) {
  const toml::node* node = ask(key);
  if (!node) return std::nullopt;
  if (const auto* truth = node->as_boolean()) return truth->get();
  wrong_type(key, "true or false");
  return std::nullopt;
}

std::optional<uint32_t> TableReader::number(std::string_view key, uint32_t lowest,
                                            uint32_t highest) {
  const toml::node* node = ask(key);
  if (!node) return std::nullopt;
  const auto* number = node->as_integer();
  if (number && number->get() >= lowest && number->get() <= highest) {
    return static_cast<uint32_t>(number->get());
  }
  wrong_type(key, fmt::format("a whole number from {} to {}", lowest, highest));
  return std::nullopt;
}

std::optional<std::string> TableReader::text(std::string_view key) {
  const toml::node* node = ask(key);
  if (!node) return std::nullopt;
  const auto* text = node->as_string();
  if (text && !text->get().empty()) return text->get();
  wrong_type(key, "a text that is not empty");
  return std::nullopt;
}

std::optional<std::string> TableReader::one_of(std::string_view key,
                                               std::initializer_list<std::string_view> words) {
  const toml::node* node = ask(key);
  if (!node) return std::nullopt;
  const auto* text = node->as_string();
  if (text && std::find(words.begin(), words.end(), text->get()) != words.end()) {
    return text->get();
  }
  wrong_type(key, fmt::format("one of \"{}\"", fmt::join(words, "\", \"")));
  return std::nullopt;
}

std::optional<RateLimit> TableReader::rate(std::string_view key) {
  const auto given = text(key);
  if (!given) return std::nullopt;
  auto limit = parse_rate(*given);
  if (limit) return limit.value();
  problem_at(key, fmt::format("'{}' {}", key, limit.error().message));
  return std::nullopt;
}

std::optional<std::vector<unsigned>> TableReader::lcores(std::string_view key) {
  const toml::node* node = ask(key);
  if (!node) return std::nullopt;
  std::vector<unsigned> cpus;
  bool right = node->is_array();
  if (right) {
    for (const toml::node& cpu : *node->as_array()) {
      const auto number = cpu.value_exact<int64_t>();
      right = right && number && *number >= 0 && *number <= INT32_MAX;
      if (right) cpus.push_back(static_cast<unsigned>(*number));
    }
  }
  if (!right) {
    wrong_type(key, "a list of cpu numbers");
    return std::nullopt;
  }
  for (auto cpu = cpus.begin(); cpu != cpus.end(); ++cpu) {
    if (std::find(cpus.begin(), cpu, *cpu) == cpu) continue;
    problem_at(key, fmt::format("'{}' names cpu {} twice", key, *cpu));
    return std::nullopt;
  }
  return cpus;
}

const toml::table* TableReader::table(std::string_view key) {
  const toml::node* node = ask(key);
  if (!node) return nullptr;
  if (node->is_table()) return node->as_table();
  wrong_type(key, fmt::format("a table, [{}]", key));
  return nullptr;
}

std::vector<const toml::table*> TableReader::tables(std::string_view key) {
  const toml::node* node = ask(key);
  if (!node) return {};
  std::vector<const toml::table*> found;
  if (node->is_array_of_tables()) {
    for (const toml::node& element : *node->as_array()) found.push_back(element.as_table());
  } else {
    wrong_type(key, fmt::format("tables, [[{}]]", key));
  }
  return found;
}

void TableReader::refuse(std::string_view key, std::string_view why) {
  if (ask(key)) problem_at(key, fmt::format("'{}' {}", key, why));
}

void TableReader::finish() {
  for (const auto& [key, node] : table_) {
    if (std::find(known_.begin(), known_.end(), key.str()) != known_.end()) continue;
    const std::string_view meant = nearest(key.str(), known_);
    std::string what = "unknown key " + in_quotes(key.str(), '\'');
    if (!meant.empty()) what += fmt::format(", did you mean '{}'?", meant);
    problems_.add(key.source().begin.line, std::move(what));
  }
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& words) {
  std::string_view best;
  size_t best_distance = typing_errors_max + 1;
  for (const std::string_view candidate : words) {
    const size_t distance = edit_distance(word, candidate);
    // Something of both must be left: "ip" is not a misspelt "no".
    if (distance >= best_distance || distance >= std::min(word.size(), candidate.size())) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

}  // namespace netback
