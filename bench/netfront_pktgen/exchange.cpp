#include "bench/netfront_pktgen/exchange.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "bench/netfront_pktgen/ask.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr size_t frame_bytes_min = 60, frame_bytes_max = 65'535;
constexpr int frames_at_once = 16;  // each millisecond: what is beside us loses none
constexpr int answers_ms_max = 500;
constexpr uint32_t extra_slots = 1;

std::vector<uint32_t> read_pieces(const std::string& text) {
  std::vector<uint32_t> pieces;
  std::istringstream list(text);
  for (std::string piece; std::getline(list, piece, ',');)
    pieces.push_back(parse_number<uint32_t>(piece).value_or(0));
  return pieces;
}

// False: not what a line may say.
bool read_word(const std::string& word, ExchangeFrame& frame) {
  if (word == "blank") {
    frame.blank = true;
  } else if (word.starts_with("gso=")) {
    frame.segment_bytes = parse_number<uint16_t>(word.substr(4)).value_or(0);
    return frame.segment_bytes > 0;
  } else if (word.starts_with("pieces=")) {
    frame.pieces = read_pieces(word.substr(7));
  } else {
    return false;
  }
  return true;
}

// Whether the pieces are the frame's; without any it fills pages.
bool cut_to_pieces(ExchangeFrame& frame) {
  const auto bytes = static_cast<uint32_t>(frame.bytes.size());
  if (frame.pieces.empty())
    for (uint32_t at = 0; at < bytes; at += netif::page_bytes)
      frame.pieces.push_back(std::min(bytes - at, netif::page_bytes));
  const auto fits = [](uint32_t piece) { return piece > 0 && piece <= netif::page_bytes; };
  return std::ranges::all_of(frame.pieces, fits) &&
         std::accumulate(frame.pieces.begin(), frame.pieces.end(), 0U) == bytes;
}

// By the type behind the addresses and a VLAN's tag.
uint8_t segmentation_type(const std::vector<uint8_t>& bytes) {
  const size_t at = bytes[12] == 0x81 ? 16 : 12;
  return bytes[at] == 0x86 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
}

class Exchange {
 public:
  Exchange(Frontend& frontend, const std::string& record)
      : frontend_(frontend), queue_(*frontend.queues().front()), record_(record) {}

  nlohmann::json run(const std::vector<ExchangeFrame>& frames, const std::atomic<bool>& stopped) {
    while (!stopped && !frontend_.backend_closes()) {
      for (int i = 0; i < frames_at_once && sent_ < frames.size() && put(frames[sent_]); ++i)
        ++sent_;
      queue_.push_from_guest();
      queue_.reap();
      receive();
      frontend_.wait(std::chrono::milliseconds(1));
    }
    for (int i = 0; i < answers_ms_max && queue_.under_way() > 0; ++i) {  // of what was sent last
      queue_.reap();
      frontend_.wait(std::chrono::milliseconds(1));
    }
    record_.close();
    return {{"sent", sent_},
            {"received", received_},
            {"errors", queue_.errors()},
            {"unanswered", queue_.under_way()},
            {"faults", queue_.errors() + queue_.bad_answers() + bad_status_ + !record_}};
  }

 private:
  // False: not enough buffers or slots are free.
  bool put(const ExchangeFrame& frame) {
    const size_t count = frame.pieces.size();
    if (queue_.free_slots() < count + extra_slots || queue_.free_buffers() < count) return false;
    const bool segmented = frame.segment_bytes > 0;
    const uint8_t* from = frame.bytes.data();
    for (size_t i = 0; i < count; ++i) {
      const auto buffer = static_cast<uint32_t>(queue_.take_buffer());
      std::copy_n(from, frame.pieces[i], queue_.from_guest_page(buffer));
      from += frame.pieces[i];
      unsigned flags = i + 1 == count ? 0 : NETTXF_more_data;
      if (i == 0 && frame.blank) flags |= NETTXF_csum_blank | NETTXF_data_validated;
      if (i == 0 && segmented) flags |= NETTXF_extra_info;
      // The first slot says how long the frame is.
      queue_.put(buffer, i == 0 ? static_cast<uint32_t>(frame.bytes.size()) : frame.pieces[i],
                 static_cast<uint16_t>(flags));
      if (i == 0 && segmented)
        queue_.put_segmentation({frame.segment_bytes, segmentation_type(frame.bytes)});
    }
    return true;
  }

  void receive() {
    FrontQueue::Received slot;
    bool any = false;
    while (queue_.receive(slot)) {
      any = true;
      if (slot.bytes < 0) {
        ++bad_status_;
      } else {
        if (coming_.empty()) first_ = slot;
        const uint8_t* bytes = queue_.bytes_of(slot);
        coming_.insert(coming_.end(), bytes, bytes + slot.bytes);
        if (!(slot.flags & NETRXF_more_data)) write();
      }
      queue_.post(slot.buffer);
    }
    if (any) queue_.push_to_guest();
  }

  void write() {
    ++received_;
    record_ << fmt::format("{:02x}", fmt::join(coming_, ""));
    if (first_.flags & NETRXF_csum_blank) record_ << " blank";
    if (first_.flags & NETRXF_data_validated) record_ << " validated";
    if (first_.segmentation.segment_bytes > 0)
      record_ << fmt::format(" gso={}", first_.segmentation.segment_bytes);
    record_ << '\n' << std::flush;
    coming_.clear();
  }

  Frontend& frontend_;
  FrontQueue& queue_;
  std::ofstream record_;
  std::vector<uint8_t> coming_;      // of the frame of which slots still come
  FrontQueue::Received first_ = {};  // its first
  uint64_t sent_ = 0, received_ = 0, bad_status_ = 0;
};

}  // namespace

Result<std::vector<ExchangeFrame>> read_exchange(const std::string& file) {
  std::vector<ExchangeFrame> frames;
  if (file.empty()) return frames;
  std::ifstream lines(file);
  if (!lines) return errno_error("cannot open " + file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    ExchangeFrame frame;
    std::string word;
    words >> word;
    frame.bytes = bytes_of_hex(word);
    bool good = frame.bytes.size() >= frame_bytes_min && frame.bytes.size() <= frame_bytes_max;
    while (good && words >> word) good = read_word(word, frame);
    if (!good || !cut_to_pieces(frame))
      return Error{fmt::format("{}: line {} is no frame", file, frames.size() + 1),
                   "HEX [blank] [gso=BYTES] [pieces=BYTES,..]"};
    frames.push_back(std::move(frame));
  }
  return frames;
}

nlohmann::json exchange(Frontend& frontend, const std::vector<ExchangeFrame>& frames,
                        const std::string& record, const std::atomic<bool>& stopped) {
  return Exchange(frontend, record).run(frames, stopped);
}

}  // namespace netback
