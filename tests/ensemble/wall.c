/* A wall clock that can be moved while a process runs, for LD_PRELOAD.
 *
 * The file WALL_CLOCK_OFFSET holds one int64 of milliseconds; whoever writes it moves the clock of every process that was started
 * with it, at once, forwards or backwards. Covered is what asks libc: clock_gettime of CLOCK_REALTIME, gettimeofday, time, which is what Rust's
 * SystemTime and Java's currentTimeMillis do. Not covered: system calls without libc, times of files, timers of the kernel. The
 * monotonic clock is left alone, as it is when an operator or NTP sets the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_ms;
static int (*libc_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WALL_CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    libc_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        offset_ms = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    /* Other libraries' constructors may ask before ours has run. */
    int result = libc_clock_gettime ? libc_clock_gettime(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && offset_ms && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t offset = *offset_ms, nanos = now->tv_nsec + offset % 1000 * 1000000;
        int64_t carry = nanos < 0 ? -1 : nanos >= 1000000000;
        now->tv_sec += offset / 1000 + carry;
        now->tv_nsec = nanos - carry * 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *at) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (at)
        *at = precise.tv_sec;
    return precise.tv_sec;
}
