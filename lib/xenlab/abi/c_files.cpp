// The two files of /proc/xen through which xenstored finds its ring of domain 0.
#undef _FILE_OFFSET_BITS  // or open would be another name of open64
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using Open = int (*)(const char*, int, ...);

int open_in_lab(const char* symbol, const char* path, int flags, mode_t mode) {
  static constexpr const char prefix[] = "/proc/xen/xsd_";
  const auto next = reinterpret_cast<Open>(dlsym(RTLD_NEXT, symbol));
  const char* lab = getenv("XENLAB");
  if (lab != nullptr && std::strncmp(path, prefix, sizeof(prefix) - 1) == 0)
    return next((std::string(lab) + (path + std::strlen("/proc/xen"))).c_str(), flags, mode);
  return next(path, flags, mode);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = static_cast<mode_t>(flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, int) : 0);
  va_end(more);
  return open_in_lab("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = static_cast<mode_t>(flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, int) : 0);
  va_end(more);
  return open_in_lab("open64", path, flags, mode);
}

}  // extern "C"
