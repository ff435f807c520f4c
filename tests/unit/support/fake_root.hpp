// A /sys, /proc and /dev of files.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace netback::test {

struct FakeRoot {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("netback-root-" + std::to_string(getpid()));
  FakeRoot() { std::filesystem::create_directories(path); }
  ~FakeRoot() { std::filesystem::remove_all(path); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  void file(const std::string& name, const std::string& text = "") const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
  }
  // A symbolic link; it need lead nowhere.
  void link(const std::string& name, const std::string& target) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::filesystem::remove(path / name);
    std::filesystem::create_symlink(target, path / name);
  }
};

}  // namespace netback::test
