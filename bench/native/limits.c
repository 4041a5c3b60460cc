// What one machine can do at most: bytes read per second and operations per second, 1 and 2 threads.
//
//   cc -O3 -march=native -pthread limits.c -o limits && ./limits [REPETITIONS [GIB [THREADS [small]]]]
//
// Every thread is pinned, starts at a common barrier and times itself. A line gives the best
// repetition twice: by the wall clock (all work over first start to last end) and by the threads' own
// processor time (sum of each thread's rate), which a neighbour on a shared machine disturbs less.
// `small` reads from pages of 4 KiB instead of huge ones. A product and a sum count as two operations. Needs AVX2 and FMA.
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 256 };

struct job {
    int thread, threads;
    const char *data;
    size_t bytes;
    double (*work)(const struct job *); // returns bytes or operations done
    double start, end, cpu, done;
    pthread_barrier_t *barrier;
};

static volatile float sink;

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#ifdef __AVX512F__
typedef __m512i wide;
enum { LINE_PARTS = 1 };
static inline wide load_wide(const char *from) { return _mm512_load_si512(from); }
static inline wide xor_wide(wide a, wide b) { return _mm512_xor_si512(a, b); }
static inline int lowest_wide(wide value) { return _mm_cvtsi128_si32(_mm512_castsi512_si128(value)); }
#else
typedef __m256i wide;
enum { LINE_PARTS = 2 };
static inline wide load_wide(const char *from) { return _mm256_load_si256((const __m256i *)from); }
static inline wide xor_wide(wide a, wide b) { return _mm256_xor_si256(a, b); }
static inline int lowest_wide(wide value) { return _mm_cvtsi128_si32(_mm256_castsi256_si128(value)); }
#endif

static inline __attribute__((always_inline)) double read_streams(const struct job *job, int streams, int ahead) {
    size_t part = job->bytes / job->threads / streams / 4096 * 4096;
    const char *from = job->data + (size_t)job->thread * part * streams;
    wide sum[4] = {0};
    for (size_t at = 0; at < part; at += 256)
        for (int stream = 0; stream < streams; stream++) {
            const char *line = from + stream * part + at;
            for (int i = 0; i < 4; i++) {
                if (ahead) _mm_prefetch(line + 64 * i + ahead, _MM_HINT_T0);
                for (int half = 0; half < LINE_PARTS; half++)
                    sum[i] = xor_wide(sum[i], load_wide(line + 64 * i + 32 * half));
            }
        }
    sink += (float)lowest_wide(xor_wide(xor_wide(sum[0], sum[1]), xor_wide(sum[2], sum[3])));
    return (double)part * streams;
}
static double read_one(const struct job *job) { return read_streams(job, 1, 0); }
static double read_ahead(const struct job *job) { return read_streams(job, 1, 2048); }
static double read_ahead_far(const struct job *job) { return read_streams(job, 1, 8192); }
static double read_four(const struct job *job) { return read_streams(job, 4, 0); }
static double read_four_ahead(const struct job *job) { return read_streams(job, 4, 1024); }

// Sixteen independent sums hide any latency up to sixteen instructions; with AVX2 twelve, so that the registers hold all.
#ifdef __AVX512F__
enum { SUMS = 16 };
#else
enum { SUMS = 12 };
#endif
static inline int lowest(__m256i value) { return _mm_cvtsi128_si32(_mm256_castsi256_si128(value)); }
static inline float lowest_float(__m256 value) { return _mm256_cvtss_f32(value); }
#define PEAK(name, type, zero, step, reduce, rounds, operations)                                         \
    static double name(const struct job *job) {                                                          \
        type a[SUMS];                                                                                    \
        __m256i x256 = _mm256_set1_epi8((char)(job->thread + 1)), y256 = _mm256_set1_epi8(3);            \
        __m256 one256 = _mm256_set1_ps(1);                                                               \
        (void)x256, (void)y256, (void)one256;                                                            \
        WIDE_OPERANDS                                                                                    \
        _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) a[i] = zero;                             \
        for (long round = 0; round < (rounds); round++) {                                                \
            _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) {                                    \
                a[i] = step;                                                                             \
                __asm__ volatile("" : "+v"(a[i]));                                                       \
            }                                                                                            \
        }                                                                                                \
        float all = 0;                                                                                   \
        _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) all += (float)reduce(a[i]);              \
        sink += all;                                                                                     \
        return (double)(rounds) * SUMS * (operations);                                                   \
    }
// Of equal products compilers would make one.
static inline __m256i products(__m256i x, __m256i y) {
    __m256i result;
    __asm__ volatile("vpmaddubsw %1, %2, %0" : "=x"(result) : "x"(y), "x"(x));
    return result;
}
#ifdef __AVX512F__
#define WIDE_OPERANDS                                                                                    \
    __m512i x = _mm512_set1_epi8((char)(job->thread + 1)), y = _mm512_set1_epi8(3);                      \
    __m512 one = _mm512_castsi512_ps(_mm512_set1_epi16(0x3f80)); /* 1 as bf16, 1.002 as f32 */           \
    (void)x, (void)y, (void)one;
PEAK(f32_fma, __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(one, one, a[i]), _mm512_reduce_add_ps, 30000000L, 2 * 16)
#else
#define WIDE_OPERANDS
PEAK(f32_fma, __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(one256, one256, a[i]), lowest_float, 30000000L, 2 * 8)
#endif
// Bytes with AVX2: products of pairs are added in 16 bits, or widened to 32 first.
PEAK(int8_16_bits, __m256i, _mm256_setzero_si256(),
     _mm256_add_epi16(a[i], products(x256, y256)), lowest, 30000000L, 2 * 32)
PEAK(int8_32_bits, __m256i, _mm256_setzero_si256(),
     _mm256_add_epi32(a[i], _mm256_madd_epi16(products(x256, y256), y256)), lowest, 30000000L, 2 * 32)
#ifdef __AVX512VNNI__
PEAK(int8_vpdpbusd, __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(a[i], x, y), _mm512_reduce_add_epi32,
     30000000L, 2 * 64)
PEAK(int8_vpdpbusd_256, __m256i, _mm256_setzero_si256(), _mm256_dpbusd_epi32(a[i], x256, y256), lowest, 30000000L, 2 * 32)
#endif
#ifdef __AVX512BF16__
PEAK(bf16_vdpbf16ps, __m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(a[i], (__m512bh)one, (__m512bh)one),
     _mm512_reduce_add_ps, 20000000L, 2 * 32)
#endif

#ifdef __AMX_INT8__
struct tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
} __attribute__((aligned(64)));
static void tiles_begin(void) {
    struct tiles tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) tiles.bytes_per_row[i] = 64, tiles.rows[i] = 16;
    __asm__ volatile("" : : "r"(&tiles) : "memory"); // gcc 12 thinks that eight bytes of it are read
    _tile_loadconfig(&tiles);
}
// Four sums of 16 rows by 16 columns by 64 products: the largest block that eight tiles allow.
#define TILES(name, product, products)                          \
    static double name(const struct job *job) {                 \
        (void)job;                                              \
        static const long rounds = 4000000;                     \
        tiles_begin();                                          \
        for (long round = 0; round < rounds; round++) {         \
            product(0, 4, 6); product(1, 4, 7);                 \
            product(2, 5, 6); product(3, 5, 7);                 \
        }                                                       \
        _tile_release();                                        \
        return (double)rounds * 4 * 2 * 16 * 16 * (products);   \
    }
TILES(amx_int8, _tile_dpbusd, 64)
TILES(amx_bf16, _tile_dpbf16ps, 32)
// The same with all four source tiles loaded anew from the first cache each round.
static double amx_int8_loads(const struct job *job) {
    (void)job;
    static const long rounds = 4000000;
    static char blocks[MOST_THREADS][4][1024] __attribute__((aligned(4096)));
    tiles_begin();
    for (long round = 0; round < rounds; round++) {
        _tile_loadd(4, blocks[job->thread][0], 64);
        _tile_loadd(6, blocks[job->thread][2], 64);
        _tile_loadd(5, blocks[job->thread][1], 64);
        _tile_loadd(7, blocks[job->thread][3], 64);
        _tile_dpbusd(0, 4, 6); _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6); _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
    return (double)rounds * 4 * 2 * 16 * 16 * 64;
}
#endif

static void *run(void *argument) {
    struct job *job = argument;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(job->thread, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    pthread_barrier_wait(job->barrier);
    job->start = now(CLOCK_MONOTONIC);
    double cpu = now(CLOCK_THREAD_CPUTIME_ID);
    job->done = job->work(job);
    job->cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    job->end = now(CLOCK_MONOTONIC);
    return NULL;
}

static void measure(const char *name, const char *unit, double scale, double (*work)(const struct job *), int threads,
                    int repetitions, const char *data, size_t bytes) {
    double wall = 0, own = 0;
    for (int repetition = 0; repetition < repetitions; repetition++) {
        struct job jobs[MOST_THREADS];
        pthread_t ids[MOST_THREADS];
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, NULL, (unsigned)threads);
        for (int i = 0; i < threads; i++) {
            jobs[i] = (struct job){.thread = i, .threads = threads, .data = data, .bytes = bytes, .work = work, .barrier = &barrier};
            pthread_create(&ids[i], NULL, run, &jobs[i]);
        }
        double start = 1e300, end = 0, done = 0, rate = 0;
        for (int i = 0; i < threads; i++) {
            pthread_join(ids[i], NULL);
            if (jobs[i].start < start) start = jobs[i].start;
            if (jobs[i].end > end) end = jobs[i].end;
            done += jobs[i].done;
            rate += jobs[i].done / jobs[i].cpu;
        }
        if (done / (end - start) > wall) wall = done / (end - start);
        if (rate > own) own = rate;
    }
    printf("%-18s %d thread%s  %8.3f %s by wall clock  %8.3f by processor time\n", name, threads, threads == 1 ? " " : "s",
           wall / scale, unit, own / scale);
    fflush(stdout);
}

int main(int count, char **words) {
    int repetitions = count > 1 ? atoi(words[1]) : 5;
    size_t bytes = (size_t)(count > 2 ? atoi(words[2]) : 2) << 30;
    int most = count > 3 ? atoi(words[3]) : 2;
    char *data = mmap(NULL, bytes + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED || most < 1 || most > MOST_THREADS) return 1;
    data = (char *)(((uintptr_t)data + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
    int huge = !(count > 4 && strcmp(words[4], "small") == 0);
    if (madvise(data, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)) puts("no advice on pages");
    printf("%s pages\n", huge ? "huge" : "small");
    for (size_t at = 0; at < bytes; at += 8) *(uint64_t *)(data + at) = at * 0x9e3779b97f4a7c15u;
    int tiles = 0;
#ifdef __AMX_INT8__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    tiles = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#endif
    for (int threads = 1; threads <= most; threads = threads < most && threads * 2 > most ? most : threads * 2) {
#define READ(name) measure(#name, "GB/s", 1e9, name, threads, repetitions, data, bytes)
#define RATE(name) measure(#name, "Tops/s", 1e12, name, threads, repetitions, data, bytes)
        READ(read_one);
        READ(read_ahead);
        READ(read_ahead_far);
        READ(read_four);
        READ(read_four_ahead);
        RATE(f32_fma);
        RATE(int8_16_bits);
        RATE(int8_32_bits);
#ifdef __AVX512VNNI__
        RATE(int8_vpdpbusd);
        RATE(int8_vpdpbusd_256);
#endif
#ifdef __AVX512BF16__
        RATE(bf16_vdpbf16ps);
#endif
#ifdef __AMX_INT8__
        if (tiles) {
            RATE(amx_int8);
            RATE(amx_int8_loads);
            RATE(amx_bf16);
        }
#endif
    }
    (void)tiles;
    return 0;
}
