// What libxengnttab gives out as a handle: for using others' grants (xengnttab) or for sharing own
// pages (xengntshr). Both are the same type to their users.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "lib/xenlab/abi/machine.hpp"

extern "C" {
#include <xengnttab.h>
}

struct xengntdev_handle {
  xenlab::Here* lab;
  int fd;  // of nothing; the real one has one too
  std::mutex lock;
  // By address: mappings (gnttab) or references (gntshr), in page order.
  std::map<void*, std::vector<uint32_t>> regions;
  // gntshr: by address, of the regions that have it.
  struct Notice {
    uint32_t clear_byte, port;
  };
  std::map<void*, Notice> notices;
};

namespace xenlab {

// A new handle, or nullptr with errno when there is no lab.
xengntdev_handle* open_grant_handle();

}  // namespace xenlab
