// Whether a program keeps its vector registers while others run: an emulated CPU, a hypervisor or a
// kernel that switches them wrongly shows here, and not as a riddle in a program that computes.
#include "netcheck.hpp"

namespace {

constexpr size_t register_count = 8;
constexpr size_t vector_bytes = 32;
constexpr uint64_t spins = 300'000;  // a few ms on the emulated CPU: others get their turns

// Leaves `in` in registers for a while and says what is in them then. Nothing is called meanwhile.
void through_registers(const uint8_t* in, uint8_t* out) {
  uint64_t left = spins;
  asm volatile(
      "vmovdqu 0x00(%1), %%ymm0\n vmovdqu 0x20(%1), %%ymm1\n"
      "vmovdqu 0x40(%1), %%ymm2\n vmovdqu 0x60(%1), %%ymm3\n"
      "vmovdqu 0x80(%1), %%ymm4\n vmovdqu 0xa0(%1), %%ymm5\n"
      "vmovdqu 0xc0(%1), %%ymm6\n vmovdqu 0xe0(%1), %%ymm7\n"
      "1: dec %0\n jnz 1b\n"
      "vmovdqu %%ymm0, 0x00(%2)\n vmovdqu %%ymm1, 0x20(%2)\n"
      "vmovdqu %%ymm2, 0x40(%2)\n vmovdqu %%ymm3, 0x60(%2)\n"
      "vmovdqu %%ymm4, 0x80(%2)\n vmovdqu %%ymm5, 0xa0(%2)\n"
      "vmovdqu %%ymm6, 0xc0(%2)\n vmovdqu %%ymm7, 0xe0(%2)\n vzeroupper\n"
      : "+r"(left)
      : "r"(in), "r"(out)
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}

}  // namespace

int keep_registers() {
  const auto start = Clock::now();
  const uint64_t seed = option("seed", 1);
  const double seconds = std::stod(words.at(0));
  uint8_t in[register_count * vector_bytes];
  uint8_t out[sizeof in];
  uint64_t rounds = 0;
  uint64_t changed = 0;
  for (; seconds_since(start) < seconds; rounds++) {
    fill(in, sizeof in, seed, rounds * sizeof in);
    std::memset(out, 0, sizeof out);
    through_registers(in, out);
    changed += std::memcmp(in, out, sizeof in) != 0;
  }
  print_json({{"rounds", rounds}, {"changed", changed}});
  return rounds > 0 && changed == 0 ? 0 : 1;
}
