// Compiles the loops of one part, named by LOOPS, for every instruction set; `level()` says at run time which to call.
#if X86
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prefer-vector-width=512")
namespace avx512 {
#define LEVEL 5
#include "vectors.h"
#include "channels.h"
#include LOOPS
#undef LEVEL
}  // namespace avx512
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LEVEL 3
#include "vectors.h"
#include "channels.h"
#include LOOPS
#undef LEVEL
}  // namespace avx2
#pragma GCC pop_options
#endif
namespace anywhere {
#define LEVEL 1
#include "vectors.h"
#include "channels.h"
#include LOOPS
#undef LEVEL
}  // namespace anywhere

#if X86
#define AT_LEVEL(call) (level() == 5 ? avx512::call : level() == 3 ? avx2::call : anywhere::call)
#else
#define AT_LEVEL(call) anywhere::call
#endif
