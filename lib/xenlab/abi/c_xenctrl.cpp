// The calls of libxenctrl that xenstored and libxenvchan make.
#include <errno.h>

#include <cstring>

#include "lib/xenlab/abi/domains.hpp"

extern "C" {
#include <xenctrl.h>
}

using namespace xenlab;

struct xc_interface_core {
  Here* lab;
};

extern "C" {

xc_interface* xc_interface_open(xentoollog_logger*, xentoollog_logger*, unsigned) {
  Here* lab = here();
  return lab == nullptr ? nullptr : new xc_interface_core{lab};
}

int xc_interface_close(xc_interface* handle) {
  delete handle;
  return 0;
}

int xc_domain_getinfo(xc_interface* handle, uint32_t first_domid, unsigned max_doms,
                      xc_dominfo_t* info) {
  const Machine& machine = *handle->lab->machine;
  const Locked locked(*handle->lab->machine);
  unsigned found = 0;
  uint32_t from = first_domid;
  while (found < max_doms) {
    const Domain* next = nullptr;  // the one with the lowest number from `from` on
    for (const Domain& domain : machine.domains)
      if (domain.state != Domain::absent && domain.number >= from &&
          (next == nullptr || domain.number < next->number))
        next = &domain;
    if (next == nullptr) break;
    info[found] = {};
    info[found].domid = next->number;
    info[found].dying = next->state == Domain::dying;
    info[found].running = next->state == Domain::alive;
    ++found;
    from = next->number + 1;
  }
  if (found == 0) errno = ESRCH;
  return found == 0 ? -1 : static_cast<int>(found);
}

}  // extern "C"
