#include "control/hash_control.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "lib/base/log.hpp"

namespace netback {
namespace {

constexpr uint32_t success = XEN_NETIF_CTRL_STATUS_SUCCESS;
constexpr uint32_t invalid = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;

bool is_algorithm(uint32_t algorithm) {
  return algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE ||
         algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ;
}

bool are_types(uint32_t types) {
  return (types & ~HashSettings::all_types) == 0;
}

template <class List>
void write_line(std::ostream& out, const List& list) {
  for (const uint32_t number : list) out << number << ' ';
  out << '\n';
}

}  // namespace

uint32_t HashControl::set_algorithm(uint32_t algorithm) {
  if (!is_algorithm(algorithm)) return invalid;
  settings_.algorithm = algorithm;
  save();
  return success;
}

uint32_t HashControl::get_types(uint32_t& types) const {
  if (settings_.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE)
    return XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED;
  types = HashSettings::all_types;
  return success;
}

uint32_t HashControl::set_types(uint32_t types) {
  // Of both, as Linux answers.
  if (!are_types(types) || settings_.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE)
    return invalid;
  settings_.types = types;
  save();
  return success;
}

uint32_t HashControl::check_key(uint32_t bytes) {
  return bytes <= HashSettings::key_bytes_max ? success : invalid;
}

void HashControl::set_key(std::span<const uint8_t> key) {
  settings_.key.fill(0);
  std::ranges::copy(key, settings_.key.begin());
  save();
}

uint32_t HashControl::set_mapping_size(uint32_t entries) {
  if (entries > HashSettings::mapping_entries_max) return invalid;
  settings_.mapping_entries = entries;
  settings_.mapping.fill(0);
  save();
  return success;
}

// No sum of the two is formed: it may wrap (XSA-270).
uint32_t HashControl::check_mapping(uint32_t offset, uint32_t entries) const {
  if (entries > HashSettings::mapping_entries_max) return XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW;
  const uint32_t size = settings_.mapping_entries;
  return entries <= size && offset <= size - entries ? success : invalid;
}

uint32_t HashControl::set_mapping(uint32_t offset, std::span<const uint32_t> queues) {
  if (!are_queues(queues)) return invalid;
  std::ranges::copy(queues, settings_.mapping.begin() + offset);
  save();
  return success;
}

bool HashControl::are_queues(std::span<const uint32_t> queues) const {
  return std::ranges::all_of(queues, [this](uint32_t queue) { return queue < queue_count_; });
}

std::shared_ptr<const Hashing> HashControl::hashing() const {
  return settings_.on() ? std::make_shared<const Hashing>(settings_) : nullptr;
}

// Numbers in lines: algorithm and types; key; mapping.
void HashControl::save() const {
  if (file_.empty()) return;
  const std::string fresh = file_ + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  write_line(out, std::array{settings_.algorithm, settings_.types});
  write_line(out, settings_.key);
  out << settings_.mapping_entries << ' ';
  write_line(out, std::span(settings_.mapping).first(settings_.mapping_entries));
  out.close();
  std::error_code failed;
  if (out) std::filesystem::rename(fresh, file_, failed);
  if (!out || failed) log::warn("cannot write {}: after a restart its guest has no hashes", file_);
}

bool HashControl::is_possible(const HashSettings& settings) const {
  return is_algorithm(settings.algorithm) && are_types(settings.types) &&
         are_queues(settings.mapping);
}

// The file is trusted no more than the guest is.
void HashControl::restore() {
  std::ifstream in(file_);
  HashSettings kept;
  in >> kept.algorithm >> kept.types;
  for (uint8_t& byte : kept.key) {
    uint32_t number = 0;
    in >> number;
    byte = static_cast<uint8_t>(number);
  }
  in >> kept.mapping_entries;
  if (!in || kept.mapping_entries > HashSettings::mapping_entries_max) return;
  for (uint32_t& queue : std::span(kept.mapping).first(kept.mapping_entries)) in >> queue;
  if (in && is_possible(kept)) settings_ = kept;
}

void HashControl::forget() {
  settings_ = {};
  std::error_code absent;
  if (!file_.empty()) std::filesystem::remove(file_, absent);
}

}  // namespace netback
