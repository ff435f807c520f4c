#include "lib/dpdk/eal.hpp"

#include <dirent.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>

using namespace netback;

namespace {

// Lets at most `free` more descriptors be opened, until it goes.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t free) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(0);  // the lowest that is free
    close(next);
    const rlimit fewer{static_cast<rlim_t>(next) + free, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &fewer);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

int open_descriptors() {
  int count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

}  // namespace

TEST_CASE("eal: does not start where descriptors would run out on the way") {
  const int before = open_descriptors();
  {
    FewDescriptors few(20);
    auto eal = Eal::start({.file_prefix = "netback-unit-few"});
    REQUIRE(!eal);
    CHECK(eal.error().message.find("descriptors are free and DPDK and its ports want 32") !=
          std::string::npos);
    CHECK(eal.error().fix == "raise ulimit -n");
  }
  CHECK(open_descriptors() == before);
}
