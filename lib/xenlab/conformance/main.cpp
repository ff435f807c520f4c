// xenlab-conformance: calls every function of libxengnttab and libxenevtchn, with success and with
// the errors that they document, and prints what came of it. Run in domain 0, which grants pages to
// itself: the transcript is the same on a real host and in a lab.
#include "lib/xenlab/conformance/transcript.hpp"

int main() {
  conformance::grants();
  conformance::copies();
  conformance::events();
}
