// libxl's half of a domain's and a vif's life: the same nodes, order, permissions and time limits.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/faults.hpp"

namespace xenlab {

struct DomainInfo {
  uint32_t number;
  std::string name;
};

struct VifWords {
  std::string mac;
  int devid = -1;      // -1: the next free one
  std::string script;  // a path; run as `script online` and `script offline`; may be empty
  std::map<std::string, std::string> more;  // bridge, rate, mtu, ip: as xl writes them
};

struct FaultWords {
  std::string name;
  std::string domain;  // number or name; empty: every one
  Aim aim;             // but for that
};

// Talks to the lab in `directory`. Everything throws std::runtime_error with a line for the user.
class Toolstack {
 public:
  explicit Toolstack(std::string directory);
  ~Toolstack();
  Toolstack(const Toolstack&) = delete;
  Toolstack& operator=(const Toolstack&) = delete;

  // What xen-init-dom0 writes.
  void init_domain_0();

  std::vector<DomainInfo> domains();
  // By number or name.
  DomainInfo find(const std::string& domain);
  DomainInfo create(const std::string& name);
  void destroy(const std::string& domain);

  // `count` vifs side by side, as those of a domain that xl creates, with addresses from that of
  // `words` on: their devids. When the backend or the script refuses one, all nodes are gone again.
  std::vector<int> add_vifs(const std::string& domain, const VifWords& words, uint32_t count);
  void remove_vif(const std::string& domain, int devid);

  // How often it has struck so far.
  uint64_t arm_fault(const FaultWords& words);
  // Xenstored answers nobody for so long.
  void pause_xenstore(uint32_t milliseconds);
  void set_costs(const CostWords& words);

  // What a process of the domain needs in its environment.
  std::map<std::string, std::string> environment(const std::string& domain,
                                                 const std::string& library);

 private:
  struct Paths {
    std::string frontend, backend;
  };
  static Paths paths_of(uint32_t domain, int devid);
  std::vector<int> free_devids(const DomainInfo& domain, const VifWords& words, uint32_t count);
  void write_vif(const DomainInfo& domain, int devid, const VifWords& words);
  void wait_for_state(const std::string& path, const std::string& wanted, int seconds);
  void run_script(const std::string& script, const char* action, const Paths& paths);
  void forget_vif(const Paths& paths);
  std::string read(const std::string& path) const;
  void write(const std::string& path, const std::string& value);

  std::string directory_;
  void* store_;  // xs_handle
};

}  // namespace xenlab
