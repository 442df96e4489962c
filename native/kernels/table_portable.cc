#include "kernels/vector_portable.h"

#include "kernels/table.inl.h"
#include "kernels/tables.h"

namespace longshore::kernels {

const KernelTable* PortableTable() {
  static constexpr KernelTable table = MakeTable<Portable>();
  return &table;
}

}  // namespace longshore::kernels
