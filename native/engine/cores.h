// How many threads this process can run at once.
#pragma once

#include <cstdint>
#include <string_view>

namespace longshore {

// At least 1: the CPUs this process may use, cut to the container's CPU quota (cgroup cpu.max), rounded up: on a large host more
// threads than that would spend the quota on waiting for each other.
uint32_t AvailableCores();

// Whole CPUs of a cgroup v2 cpu.max ("<quota> <period>" in microseconds, or "max <period>"), rounded up; 0: no limit, or not understood.
uint32_t CoresOfQuota(std::string_view cpu_max);

}  // namespace longshore
