/* Preloaded before MLX on a CPU: replaces the single-precision matrix product by writing zeros,
   so that a run's allocations can be measured without its arithmetic. */
#include <string.h>

void cblas_sgemm(int order, int transa, int transb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    (void)transa; (void)transb; (void)k; (void)alpha; (void)a; (void)lda; (void)b; (void)ldb;
    if (beta != 0.0f) return;
    int rows = order == 101 ? m : n, width = order == 101 ? n : m;
    for (int i = 0; i < rows; i++) memset(c + (size_t)i * ldc, 0, (size_t)width * sizeof(float));
}
