// The table of each instruction set this build can hold; call one only where Supports... says that the CPU runs it.
#pragma once

#include "kernels/kernels.h"

namespace longshore::kernels {

const KernelTable* PortableTable();
#if defined(__x86_64__)
const KernelTable* Avx2Table();
const KernelTable* Avx512Table();
#endif

}  // namespace longshore::kernels
