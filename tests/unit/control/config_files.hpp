// A configuration directory for one test.
#pragma once

#include <catch2/catch.hpp>

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace netback::test {

class ConfigDirectory {
 public:
  ConfigDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "netback-config-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~ConfigDirectory() { std::filesystem::remove_all(path_); }
  ConfigDirectory(const ConfigDirectory&) = delete;
  ConfigDirectory& operator=(const ConfigDirectory&) = delete;

  // The file's full name.
  std::string write(const std::string& file, const std::string& text) {
    const std::filesystem::path name = path_ / file;
    std::filesystem::create_directories(name.parent_path());
    std::ofstream(name) << text;
    return name.string();
  }
  std::string path() const { return path_.string(); }
  std::string path_of(const std::string& file) const { return (path_ / file).string(); }

 private:
  std::filesystem::path path_;
};

// A file of the source tree, which is four levels above this one.
inline std::string source_file(const std::string& name) {
  std::filesystem::path root = __FILE__;
  for (int level = 0; level < 4; ++level) root = root.parent_path();
  std::ifstream stream(root / name);
  REQUIRE(stream);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// `text` with the comment mark taken off every line that is "#key = value" or "#[[table]]".
inline std::string uncommented(const std::string& text) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ' &&
                         (line[1] == '[' || line.find(" = ") != line.npos);
    result += (setting ? line.substr(1) : line) + "\n";
  }
  return result;
}

}  // namespace netback::test
