// Credit over time. The TSC of these tests counts microseconds.
#include "dataplane/rate.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <thread>
#include <vector>

using namespace netback;

namespace {

constexpr uint64_t hz = 1'000'000;

struct Budget : RateBudget {
  explicit Budget(const RateLimit& limit) { set(limit, hz); }
};

}  // namespace

TEST_CASE("rate: only one of more than no bytes is a limit") {
  CHECK_FALSE(RateLimit{}.limited());
  CHECK(RateLimit{.bytes = 1, .interval_us = 1}.limited());
}

TEST_CASE("rate: at the beginning an interval's credit is there, and no more") {
  for (const int64_t now : {0, 3, 1'000'000'000}) {
    Budget budget({.bytes = 50'000, .interval_us = 10'000});
    CHECK(budget.credit(now) == 50'000);
    budget.spend(49'995, now);
    CHECK(budget.take(5, now));
    CHECK(budget.credit(now) == 0);
    CHECK_FALSE(budget.take(5, now));
  }
}

TEST_CASE("rate: a short interval has the credit of 2 ms") {
  Budget budget({.bytes = 500, .interval_us = 100});
  CHECK(budget.credit(0) == 10'000);
  Budget longer({.bytes = 500, .interval_us = 2'001});
  CHECK(longer.credit(0) == 500);
}

TEST_CASE("rate: what passes may be longer than the credit, and is paid before the next passes") {
  Budget budget({.bytes = 10'000, .interval_us = 10'000});  // a byte each microsecond
  CHECK(budget.take(65'535, 0));
  CHECK(budget.paid_until() == 55'535);
  CHECK(budget.credit(55'534) == -1);
  CHECK_FALSE(budget.take(1, 55'535));
  CHECK(budget.take(1, 55'536));
  CHECK(budget.paid_until() == 55'536);
}

TEST_CASE("rate: what is not taken costs nothing") {
  Budget budget({.bytes = 10'000, .interval_us = 10'000});
  budget.spend(20'000, 0);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(budget.take(1000, 9'999));
  CHECK(budget.paid_until() == 10'000);
}

TEST_CASE("rate: credit comes with time, up to an interval's") {
  Budget budget({.bytes = 10'000, .interval_us = 10'000});
  budget.spend(10'000, 0);
  CHECK(budget.credit(4'000) == 4'000);
  CHECK(budget.credit(10'000) == 10'000);
  CHECK(budget.credit(90'000) == 10'000);
  budget.spend(500, 90'000);
  CHECK(budget.credit(90'000) == 9'500);
}

TEST_CASE("rate: over time exactly as much passes as the limit says, whatever the frames") {
  for (const uint64_t bytes : {60u, 1514u, 65'535u}) {
    Budget budget({.bytes = 62'500, .interval_us = 50'000});
    budget.spend(62'500, 0);
    uint64_t passed = 0;
    for (int64_t now = 0; now < 10'000'000; now += 10)
      while (budget.take(bytes, now)) passed += bytes;
    CHECK(passed <= 12'500'000 + bytes);
    CHECK(passed >= 12'400'000);
  }
}

TEST_CASE("rate: a new limit starts anew: nothing of the old one is owed") {
  Budget budget({.bytes = 1, .interval_us = 1'000'000});
  budget.spend(65'535, 0);
  budget.set({.bytes = 10'000, .interval_us = 10'000}, hz);
  CHECK(budget.credit(5) == 10'000);
  CHECK(budget.take(10'000, 5));
  CHECK(budget.credit(5) == 0);
}

TEST_CASE("rate: the lowest limit and the most that one turn takes") {
  Budget budget({.bytes = 10, .interval_us = 10'000'000});
  budget.set({.bytes = 10, .interval_us = 10'000'000}, 5'000'000'000);
  budget.spend(128 * 65'535, 0);
  CHECK(budget.paid_until() == (128 * 65'535 - 10) * int64_t{5'000'000'000});
}

TEST_CASE("rate: several threads share one budget") {
  Budget budget({.bytes = 100'000, .interval_us = 10'000});
  std::atomic<uint64_t> passed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 20'000; ++j) {
        if (budget.take(10, 0)) ++passed;
        budget.spend(1, 0);
      }
    });
  for (auto& thread : threads) thread.join();
  // Each costs a microsecond, the least there is.
  CHECK(budget.paid_until() == -10'000 + static_cast<int64_t>(passed) + 80'000);
}
