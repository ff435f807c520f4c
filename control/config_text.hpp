// Reading one table of a TOML file key by key, with messages that name the line. Inside config
// only.
#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/rate.hpp"
#include "lib/base/result.hpp"

namespace netback {

// The file's tables, or "FILE:LINE: why" or "FILE: why".
Result<toml::table> read_toml(const std::string& file);

// What is wrong with a file. One line is enough for a person: the first in the file.
class Problems {
 public:
  explicit Problems(std::string file) : file_(std::move(file)) {}

  void add(uint32_t line, std::string what);
  bool none() const { return first_line_ == no_line; }
  // "FILE:LINE: what" of the first.
  Error first() const;

 private:
  static constexpr uint32_t no_line = UINT32_MAX;

  std::string file_;
  uint32_t first_line_ = no_line;
  std::string first_;
};

// Asked for each key that the table may have, then finish() complains about the others. Every
// question returns nothing when the key is absent or its value is wrong, which is then in
// `problems`.
class TableReader {
 public:
  // Both outlive it.
  TableReader(const toml::table& table, Problems& problems) : table_(table), problems_(problems) {}

  std::optional<bool> truth(std::string_view key);
  // `lowest` to `highest`.
  std::optional<uint32_t> number(std::string_view key, uint32_t lowest, uint32_t highest);
  // Not empty.
  std::optional<std::string> text(std::string_view key);
  std::optional<std::string> one_of(std::string_view key,
                                    std::initializer_list<std::string_view> words);
  // As xl writes it: rate_text.hpp.
  std::optional<RateLimit> rate(std::string_view key);
  // A list of cpus, each once.
  std::optional<std::vector<unsigned>> lcores(std::string_view key);
  const toml::table* table(std::string_view key);
  // The tables of [[key]], in order.
  std::vector<const toml::table*> tables(std::string_view key);

  // The key exists elsewhere or not yet: if it is here, "'key' " + why is a problem.
  void refuse(std::string_view key, std::string_view why);
  void problem_at(std::string_view key, std::string what);
  bool has(std::string_view key) const { return table_.contains(key); }
  bool is_text(std::string_view key) const { return has(key) && table_.get(key)->is_string(); }
  uint32_t line() const { return table_.source().begin.line; }
  void finish();

 private:
  const toml::node* ask(std::string_view key);
  void wrong_type(std::string_view key, std::string_view wanted);

  const toml::table& table_;
  Problems& problems_;
  std::vector<std::string_view> known_;
};

// The one of `words` that `word` most likely meant; empty when none is near.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& words);

}  // namespace netback
