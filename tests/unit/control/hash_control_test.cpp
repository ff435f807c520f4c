// What a guest may set of hashing, without a ring; and the file of it.
#include "control/hash_control.hpp"

#include <filesystem>
#include <fstream>

#include "tests/unit/control/config_files.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t table_overflow = XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW;
constexpr uint32_t toeplitz = XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ;

}  // namespace

TEST_CASE("hash_control_an_algorithm_is_none_or_toeplitz") {
  HashControl hash(1, "");
  for (const uint32_t algorithm : {2u, 3u, 0x100u, UINT32_MAX}) {
    CHECK(hash.set_algorithm(algorithm) == invalid);
    CHECK(hash.settings().algorithm == 0);
  }
  CHECK(hash.set_algorithm(toeplitz) == success);
  CHECK(hash.settings().algorithm == toeplitz);
  CHECK(hash.set_algorithm(9) == invalid);
  CHECK(hash.settings().algorithm == toeplitz);
  CHECK(hash.set_algorithm(0) == success);
  CHECK(hash.settings().algorithm == 0);
}

TEST_CASE("hash_control_types_are_those_that_there_are_and_only_with_an_algorithm") {
  HashControl hash(1, "");
  uint32_t types = 77;
  CHECK(hash.get_types(types) == not_supported);
  CHECK(types == 77);
  CHECK(hash.set_types(1) == invalid);
  CHECK(hash.settings().types == 0);
  hash.set_algorithm(toeplitz);
  CHECK(hash.get_types(types) == success);
  CHECK(types == 15);
  for (uint32_t bit = 0; bit < 32; ++bit) {
    CHECK(hash.set_types(1u << bit) == (bit < 4 ? success : invalid));
    CHECK(hash.settings().types == 1u << std::min(bit, 3u));
  }
  CHECK(hash.set_types(15) == success);
  CHECK(hash.hashing() != nullptr);
  CHECK(hash.set_types(0) == success);
  CHECK(hash.hashing() == nullptr);
  hash.set_types(15);
  hash.set_algorithm(0);
  CHECK(hash.hashing() == nullptr);
}

TEST_CASE("hash_control_a_key_of_up_to_40_bytes_zeros_behind_it") {
  HashControl hash(1, "");
  for (const uint32_t bytes : {0u, 1u, 39u, 40u}) CHECK(HashControl::check_key(bytes) == success);
  for (const uint32_t bytes : {41u, 4096u, 4097u, UINT32_MAX})
    CHECK(HashControl::check_key(bytes) == invalid);
  hash.set_key(std::vector<uint8_t>(40, 7));
  CHECK(hash.settings().key[39] == 7);
  hash.set_key(std::vector<uint8_t>{1, 2});
  CHECK(hash.settings().key[1] == 2);
  for (uint32_t i = 2; i < 40; ++i) CHECK(hash.settings().key[i] == 0);
  hash.set_key({});
  CHECK(hash.settings().key[0] == 0);
}

TEST_CASE("hash_control_a_mapping_is_of_queues_that_there_are_and_lies_within_its_size") {
  HashControl hash(3, "");
  for (const uint32_t entries : {129u, UINT32_MAX})
    CHECK(hash.set_mapping_size(entries) == invalid);
  CHECK(hash.settings().mapping_entries == 0);
  CHECK(hash.check_mapping(0, 0) == success);
  CHECK(hash.check_mapping(0, 1) == invalid);
  REQUIRE(hash.set_mapping_size(128) == success);
  CHECK(hash.check_mapping(0, 128) == success);
  CHECK(hash.check_mapping(127, 1) == success);
  CHECK(hash.check_mapping(128, 0) == success);
  CHECK(hash.check_mapping(128, 1) == invalid);
  CHECK(hash.check_mapping(127, 2) == invalid);
  CHECK(hash.check_mapping(0xffff'ffff, 2) == invalid);  // XSA-270
  CHECK(hash.check_mapping(0xffff'ff81, 128) == invalid);
  CHECK(hash.check_mapping(0, 129) == table_overflow);
  CHECK(hash.check_mapping(1, 0xffff'ffff) == table_overflow);
  REQUIRE(hash.set_mapping_size(10) == success);
  CHECK(hash.check_mapping(0, 11) == invalid);
  CHECK(hash.check_mapping(5, 5) == success);
  CHECK(hash.set_mapping(5, std::vector<uint32_t>{0, 1, 2}) == success);
  CHECK(hash.set_mapping(0, std::vector<uint32_t>{0, 1, 3}) == invalid);
  CHECK(hash.set_mapping(0, std::vector<uint32_t>{UINT32_MAX}) == invalid);
  const std::vector<uint32_t> expected{0, 0, 0, 0, 0, 0, 1, 2, 0, 0};
  CHECK(std::equal(expected.begin(), expected.end(), hash.settings().mapping.begin()));
  hash.set_mapping_size(10);  // anew, with zeros
  CHECK(hash.settings().mapping[7] == 0);
  CHECK(hash.set_mapping_size(0) == success);
}

TEST_CASE("hash_control_what_is_set_is_kept_at_once_and_comes_back_as_it_was") {
  ConfigDirectory directory;
  const std::string file = directory.path_of("hashing-5.0");
  HashControl hash(2, file);
  CHECK_FALSE(std::filesystem::exists(file));
  const auto same_again = [&] {
    HashControl next(2, file);
    next.restore();
    const HashSettings &a = hash.settings(), &b = next.settings();
    CHECK(a.algorithm == b.algorithm);
    CHECK(a.types == b.types);
    CHECK(a.key == b.key);
    CHECK(a.mapping_entries == b.mapping_entries);
    CHECK(a.mapping == b.mapping);
    CHECK((next.hashing() != nullptr) == a.on());
  };
  hash.set_algorithm(toeplitz);
  same_again();
  hash.set_types(5);
  same_again();
  std::vector<uint8_t> key(40);
  for (uint8_t i = 0; i < 40; ++i) key[i] = static_cast<uint8_t>(255 - i);
  hash.set_key(key);
  same_again();
  hash.set_mapping_size(128);
  same_again();
  hash.set_mapping(126, std::vector<uint32_t>{1, 1});
  same_again();
  hash.forget();
  CHECK_FALSE(hash.settings().on());
  CHECK(hash.settings().mapping_entries == 0);
  CHECK_FALSE(std::filesystem::exists(file));
  same_again();
}

TEST_CASE("hash_control_of_a_file_with_what_no_guest_could_set_nothing_comes_back") {
  ConfigDirectory directory;
  const std::string file = directory.path_of("hashing-5.0");
  std::string key;
  for (int i = 0; i < 40; ++i) key += "9 ";
  const auto types_of = [&](const std::string& text) {
    std::ofstream(file) << text;
    HashControl hash(2, file);
    hash.restore();
    const HashSettings& settings = hash.settings();
    if (settings.types == 0) {
      CHECK(settings.algorithm == 0);
      CHECK(settings.key[0] == 0);
      CHECK(settings.mapping_entries == 0);
    }
    return settings.types;
  };
  CHECK(types_of("1 15\n" + key + "\n2 1 0\n") == 15);
  CHECK(types_of("2 15\n" + key + "\n2 1 0\n") == 0);
  CHECK(types_of("1 16\n" + key + "\n2 1 0\n") == 0);
  CHECK(types_of("1 15\n" + key + "\n2 2 0\n") == 0);  // a queue that there is not
  CHECK(types_of("1 15\n" + key + "\n129 1 0\n") == 0);
  CHECK(types_of("1 15\n" + key + "\n2 1\n") == 0);  // cut off
  CHECK(types_of("1 15\n" + key.substr(2) + "\n") == 0);
  CHECK(types_of("1 15\nkey\n") == 0);
  CHECK(types_of("") == 0);
}

TEST_CASE("hash_control_without_a_file_or_where_none_can_be_written_all_holds_for_now") {
  ConfigDirectory directory;
  for (const std::string& file : {std::string(), directory.path_of("none/hashing-5.0")}) {
    HashControl hash(1, file);
    CHECK(hash.set_algorithm(toeplitz) == success);
    CHECK(hash.set_types(1) == success);
    CHECK(hash.hashing() != nullptr);
    hash.restore();  // there is nothing: all stays
    CHECK(hash.settings().types == 1);
    hash.forget();
  }
  CHECK(std::filesystem::is_empty(directory.path()));
}
