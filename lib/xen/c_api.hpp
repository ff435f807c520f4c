// The C libraries of Xen: their headers of 4.17 do not say extern "C" themselves.
#pragma once

#include <cstdint>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}
