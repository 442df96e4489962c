#include "kernels/vector_avx2.h"

#include "kernels/table.inl.h"
#include "kernels/tables.h"

namespace longshore::kernels {

const KernelTable* Avx2Table() {
  static constexpr KernelTable table = MakeTable<Avx2>();
  return &table;
}

}  // namespace longshore::kernels
