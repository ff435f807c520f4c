#include "control/port_filters.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/filters.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Kind = FilterCall::Kind;

// Each address with whom it is for.
Texts texts_of_users(const AddressUsers& users) {
  Texts texts;
  for (const auto& [address, vifs] : users) {
    texts.push_back(address_text(address));
    for (const auto& vif : vifs) texts.back() += " " + vif;
  }
  return texts;
}

// With the groups that the vifs of a test need most often.
FilterNeeds needs(const std::string& name, const rte_ether_addr& mac,
                  std::optional<Groups> groups = Groups{}) {
  return {.vif = name, .mac = mac, .groups = std::move(groups)};
}
FilterNeeds primary(FilterNeeds one) {
  one.set_physaddr = true;
  return one;
}
FilterNeeds unfiltered(FilterNeeds one) {
  one.filtered = false;
  one.groups.reset();
  return one;
}

FilterLimits roomy() {
  return {.own = own_mac, .unicast_max = 15};
}
const FilterState fresh{.primary = own_mac};

FilterState state_of(const std::vector<FilterNeeds>& vifs, const FilterLimits& limits = roomy(),
                     const FilterState& programmed = fresh) {
  return next_state(wanted_filters(vifs), programmed, limits);
}

// The calls that lead from one to the other.
std::vector<Kind> calls(FilterState from, const FilterState& to) {
  std::vector<Kind> kinds;
  while (const auto call = next_call(from, to, own_mac)) {
    REQUIRE(kinds.size() < 32);
    kinds.push_back(call->kind);
    note_call(from, *call, to);
  }
  CHECK(same_state(from, to));
  return kinds;
}

}  // namespace

TEST_CASE("port_filters_no_vif_needs_nothing") {
  const WantedFilters wanted = wanted_filters({});
  CHECK((!wanted.primary && wanted.unicast.empty() && wanted.multicast.empty()));
  CHECK((wanted.allmulticast.empty() && wanted.promiscuous.empty()));
  const FilterState state = state_of({});
  CHECK(address_text(state.primary) == address_text(own_mac));
  CHECK((state.unicast.empty() && state.multicast.empty()));
  CHECK_FALSE((state.promiscuous || state.allmulticast));
}

TEST_CASE("seed_S08_two_vifs_with_one_address_need_it_once") {
  const auto wanted =
      wanted_filters({needs("1.0", mac_a), needs("2.0", mac_b), needs("3.0", mac_a)});
  CHECK(texts_of_users(wanted.unicast) ==
        Texts{"00:16:3e:00:00:01 1.0 3.0", "00:16:3e:00:00:02 2.0"});
}

TEST_CASE("seed_S09_a_vif_with_multicast_control_needs_its_groups_one_without_needs_all") {
  const std::vector<FilterNeeds> choosers = {needs("1.0", mac_a, Groups{group_b, group_a}),
                                             needs("2.0", mac_b, Groups{group_a}),
                                             needs("3.0", mac_c)};
  const auto wanted = wanted_filters(choosers);
  CHECK(texts_of_users(wanted.multicast) ==
        Texts{"01:00:5e:00:00:01 1.0 2.0", "33:33:00:00:00:02 1.0"});
  CHECK((wanted.allmulticast.empty() && wanted.promiscuous.empty()));
  const FilterState state = state_of(choosers);
  CHECK(texts_of(state.multicast) == Texts{"01:00:5e:00:00:01", "33:33:00:00:00:02"});
  CHECK(state.unicast.size() == 3);
  CHECK_FALSE((state.allmulticast || state.promiscuous));

  auto all = choosers;
  all.push_back(needs("4.0", mac_a, std::nullopt));
  all.push_back(needs("5.0", mac_a, std::nullopt));
  CHECK(wanted_filters(all).allmulticast == Names{"4.0", "5.0"});
  CHECK(state_of(all).allmulticast);
  CHECK_FALSE(state_of(all).promiscuous);
  CHECK(state_of(all).multicast.empty());
}

TEST_CASE("port_filters_a_group_that_is_in_a_vifs_list_twice_is_for_it_once") {
  const auto wanted = wanted_filters({needs("1.0", mac_a, Groups{group_a, group_b, group_a}),
                                      needs("2.0", mac_a, Groups{group_a, group_a})});
  CHECK(texts_of_users(wanted.multicast) ==
        Texts{"01:00:5e:00:00:01 1.0 2.0", "33:33:00:00:00:02 1.0"});
}

TEST_CASE("port_filters_broadcast_is_no_group_that_a_guest_can_make_a_driver_refuse") {
  const auto wanted =
      wanted_filters({needs("1.0", mac_a, Groups{{{255, 255, 255, 255, 255, 255}}, group_a})});
  CHECK(texts_of_users(wanted.multicast) == Texts{"01:00:5e:00:00:01 1.0"});
}

TEST_CASE("seed_S09_an_unfiltered_vif_makes_it_promiscuous_and_then_it_has_no_groups") {
  const std::vector<FilterNeeds> vifs = {needs("1.0", mac_a, Groups{group_a}),
                                         unfiltered(needs("2.0", mac_b))};
  CHECK(wanted_filters(vifs).promiscuous == Names{"2.0"});
  const FilterState state = state_of(vifs);
  CHECK(state.promiscuous);
  CHECK_FALSE(state.allmulticast);
  CHECK(state.multicast.empty());
  CHECK(state.unicast.size() == 2);
}

TEST_CASE("seed_S10_the_newest_vif_that_asks_has_the_primary_mac_and_is_no_address_besides") {
  const std::vector<FilterNeeds> vifs = {primary(needs("1.0", mac_a)), primary(needs("2.0", mac_b)),
                                         needs("3.0", mac_c)};
  const auto wanted = wanted_filters(vifs);
  REQUIRE(wanted.primary);
  CHECK(address_text(*wanted.primary) == address_text(mac_b));
  CHECK(wanted.primary_for == "2.0");
  const FilterState state = state_of(vifs);
  CHECK(address_text(state.primary) == address_text(mac_b));
  CHECK(texts_of(state.unicast) == Texts{"00:16:3e:00:00:01", "00:16:3e:00:00:03"});
}

TEST_CASE("seed_S10_a_refused_primary_mac_is_an_address_besides") {
  FilterLimits limits = roomy();
  limits.primary_refused = EPERM;
  const FilterState state = state_of({primary(needs("1.0", mac_a))}, limits);
  CHECK(address_text(state.primary) == address_text(own_mac));
  CHECK(texts_of(state.unicast) == Texts{"00:16:3e:00:00:01"});
  // One that cannot be given back is kept.
  CHECK(address_text(state_of({}, limits, {.primary = mac_b}).primary) == address_text(mac_b));
}

TEST_CASE("port_filters_the_ports_own_address_is_none_besides") {
  CHECK(state_of({needs("1.0", own_mac)}).unicast.empty());
}

TEST_CASE("port_filters_addresses_that_do_not_fit_make_it_promiscuous_those_that_do_stay") {
  const std::vector<FilterNeeds> three = {needs("1.0", mac_a), needs("2.0", mac_b),
                                          needs("3.0", mac_c)};
  for (size_t room = 0; room < 5; ++room) {
    FilterLimits limits = roomy();
    limits.unicast_max = room;
    const FilterState state = state_of(three, limits);
    CHECK(state.unicast.size() == std::min<size_t>(3, room));
    CHECK(state.promiscuous == (room < 3));
  }
  FilterLimits limits = roomy();
  limits.unicast_max = 1;
  const FilterState one = state_of(three, limits, {.primary = own_mac, .unicast = {mac_c}});
  CHECK(texts_of(one.unicast) == Texts{"00:16:3e:00:00:03"});
}

TEST_CASE("port_filters_a_refused_address_makes_it_promiscuous_and_no_other_is_tried") {
  FilterLimits limits = roomy();
  limits.unicast_refused = ENOTSUP;
  const std::vector<FilterNeeds> two = {needs("1.0", mac_a), needs("2.0", mac_b)};
  const FilterState state = state_of(two, limits, {.primary = own_mac, .unicast = {mac_b}});
  CHECK(state.promiscuous);
  CHECK(texts_of(state.unicast) == Texts{"00:16:3e:00:00:02"});
  // Of what is there already none is missing.
  CHECK_FALSE(state_of({two[1]}, limits, {.primary = own_mac, .unicast = {mac_b}}).promiscuous);
}

TEST_CASE("seed_S13_a_refused_list_of_groups_makes_it_take_all_then_promiscuous") {
  const std::vector<FilterNeeds> vifs = {needs("1.0", mac_a, Groups{group_a, group_b})};
  FilterLimits limits = roomy();
  limits.multicast_refused = ENOSPC;
  limits.multicast_refused_count = 2;
  FilterState state = state_of(vifs, limits);
  CHECK((state.allmulticast && !state.promiscuous && state.multicast.empty()));
  // One that is shorter than what was refused is tried.
  limits.multicast_refused_count = 3;
  state = state_of(vifs, limits);
  CHECK((!state.allmulticast && !state.promiscuous && state.multicast.size() == 2));

  limits.multicast_refused_count = 1;
  limits.allmulticast_refused = ENOTSUP;
  state = state_of(vifs, limits);
  CHECK((!state.allmulticast && state.promiscuous && state.multicast.empty()));
  limits.promiscuous_refused = ENOTSUP;
  state = state_of(vifs, limits);
  CHECK((!state.allmulticast && !state.promiscuous && state.multicast.empty()));
}

TEST_CASE("port_filters_all_groups_refused_make_it_promiscuous_that_refused_it_has_what_it_takes") {
  const std::vector<FilterNeeds> vifs = {needs("1.0", mac_a, Groups{group_a}),
                                         needs("2.0", mac_b, std::nullopt)};
  FilterLimits limits = roomy();
  limits.allmulticast_refused = ENOTSUP;
  FilterState state = state_of(vifs, limits);
  CHECK((!state.allmulticast && state.promiscuous && state.multicast.empty()));
  limits.promiscuous_refused = ENOTSUP;
  state = state_of(vifs, limits);
  CHECK((!state.allmulticast && !state.promiscuous && state.multicast.size() == 1));
  // And what is not filtered gets all groups at least.
  limits.allmulticast_refused = 0;
  state = state_of({unfiltered(needs("1.0", mac_a))}, limits);
  CHECK((state.allmulticast && !state.promiscuous));
}

TEST_CASE("port_filters_from_a_state_to_itself_there_is_nothing_to_call") {
  const FilterState full{.primary = mac_a,
                         .unicast = {mac_b, mac_c},
                         .multicast = {group_a},
                         .allmulticast = true,
                         .promiscuous = true};
  CHECK_FALSE(next_call(full, full, own_mac));
  CHECK_FALSE(next_call(fresh, fresh, own_mac));
}

TEST_CASE("port_filters_what_is_new_comes_before_what_goes") {
  const FilterState narrow{.primary = own_mac, .unicast = {mac_a}, .multicast = {group_a}};
  const FilterState all{.primary = own_mac, .unicast = {mac_a}, .allmulticast = true};
  const FilterState wide{.primary = own_mac, .unicast = {mac_a}, .promiscuous = true};
  CHECK(calls(narrow, wide) == std::vector{Kind::enter_promiscuous, Kind::set_multicast});
  CHECK(calls(wide, narrow) == std::vector{Kind::set_multicast, Kind::leave_promiscuous});
  CHECK(calls(narrow, all) == std::vector{Kind::enter_allmulticast, Kind::set_multicast});
  CHECK(calls(all, narrow) == std::vector{Kind::set_multicast, Kind::leave_allmulticast});
  CHECK(calls(all, wide) == std::vector{Kind::enter_promiscuous, Kind::leave_allmulticast});
  CHECK(calls(wide, all) == std::vector{Kind::enter_allmulticast, Kind::leave_promiscuous});
}

TEST_CASE("port_filters_a_list_of_groups_that_changes_is_one_call") {
  const FilterState one{.primary = own_mac, .multicast = {group_a, group_b}};
  const FilterState other{.primary = own_mac, .multicast = {group_b, group_c}};
  CHECK(calls(one, other) == std::vector{Kind::set_multicast});
}

TEST_CASE("port_filters_an_address_goes_first_when_another_needs_its_place") {
  const FilterState one{.primary = own_mac, .unicast = {mac_a}};
  const FilterState other{.primary = own_mac, .unicast = {mac_b}};
  CHECK(calls(one, other) == std::vector{Kind::remove_unicast, Kind::add_unicast});
}

TEST_CASE("seed_S12_at_detach_groups_go_then_promiscuous_mode_then_addresses_then_the_primary") {
  const FilterState full{.primary = mac_a,
                         .unicast = {mac_b},
                         .multicast = {group_a},
                         .allmulticast = true,
                         .promiscuous = true};
  CHECK(calls(full, fresh) == std::vector{Kind::set_multicast, Kind::leave_allmulticast,
                                          Kind::leave_promiscuous, Kind::remove_unicast,
                                          Kind::set_primary});
}

TEST_CASE("seed_S10_an_address_in_the_list_leaves_it_before_it_becomes_the_primary") {
  const FilterState listed{.primary = own_mac, .unicast = {mac_a}};
  const FilterState chosen{.primary = mac_a};
  CHECK(calls(listed, chosen) == std::vector{Kind::remove_unicast, Kind::set_primary});
  // And one that was the primary is listed when it is not any more.
  CHECK(calls(chosen, listed) == std::vector{Kind::set_primary, Kind::add_unicast});
  // From one vif's to another's.
  CHECK(calls({.primary = mac_a, .unicast = {mac_b}}, {.primary = mac_b, .unicast = {mac_a}}) ==
        std::vector{Kind::remove_unicast, Kind::set_primary, Kind::add_unicast});
  // A vif that has the port's own address needs it listed while another's is the primary.
  CHECK(calls({.primary = mac_a, .unicast = {own_mac}}, fresh) ==
        std::vector{Kind::remove_unicast, Kind::set_primary});
}

TEST_CASE("seed_S10_a_vifs_primary_mac_is_set_before_anything_else") {
  const FilterState to{.primary = mac_a, .unicast = {mac_b}, .promiscuous = true};
  CHECK(calls(fresh, to) ==
        std::vector{Kind::set_primary, Kind::enter_promiscuous, Kind::add_unicast});
}
