#include "engine/cores.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace longshore {

uint32_t CoresOfQuota(std::string_view cpu_max) {
  const size_t space = cpu_max.find(' ');
  if (space == std::string_view::npos) return 0;
  uint64_t quota = 0, period = 0;
  const char* end = cpu_max.data() + cpu_max.size();
  if (std::from_chars(cpu_max.data(), cpu_max.data() + space, quota).ptr != cpu_max.data() + space) return 0;
  if (std::from_chars(cpu_max.data() + space + 1, end, period).ec != std::errc() || period == 0 || quota == 0) return 0;
  return static_cast<uint32_t>(std::min<uint64_t>((quota - 1) / period + 1, 1u << 20));
}

uint32_t AvailableCores() {
  uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = std::clamp(static_cast<uint32_t>(CPU_COUNT(&set)), 1u, cores);
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  if (std::string line; std::getline(file, line))
    if (const uint32_t quota = CoresOfQuota(line)) cores = std::min(cores, quota);
#endif
  return cores;
}

}  // namespace longshore
