#include "kernels/vector_avx512.h"

#include "kernels/table.inl.h"
#include "kernels/tables.h"

namespace longshore::kernels {

const KernelTable* Avx512Table() {
  static constexpr KernelTable table = MakeTable<Avx512>();
  return &table;
}

}  // namespace longshore::kernels
