/* Shifts the wall clock of one process, so that a clock can be set without setting that of the machine.
 *
 * Loaded with LD_PRELOAD. The file that STAUNCH_TORTURE_CLOCK names holds a signed 64-bit number of nanoseconds, which is
 * added to CLOCK_REALTIME at each reading. Every other clock is the kernel's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

__attribute__((constructor)) static void open_shift(void)
{
    const char *path = getenv("STAUNCH_TORTURE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        shift = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    const int64_t second = 1000000000;
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && shift) {
        int64_t now = (int64_t)time->tv_sec * second + time->tv_nsec + *shift;
        time->tv_sec = now / second;
        time->tv_nsec = now % second;
    }
    return result;
}
