/*
 * test/lib/clock.c
 *		A clock for tests: LD_PRELOADed into a server, it adds to the time of
 *		day the seconds that stand in the file that PAY_CLOCK names, as an int64.
 *
 * The file is mapped, so that whoever writes to it moves the clock of all
 * processes at once, without a restart.  Only the time of day moves: timeouts
 * go by CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *volatile map = NULL;

static long
offset_s(void)
{
	const char *path = getenv("PAY_CLOCK");

	if (map == NULL && path != NULL)
	{
		int			fd = open(path, O_RDONLY | O_CLOEXEC);
		void	   *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

		if (fd >= 0)
			close(fd);
		if (found != MAP_FAILED)
			map = found;
	}
	return map ? (long) *map : 0;
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	int			rc = (int) syscall(SYS_clock_gettime, clock, ts);

	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += offset_s();
	return rc;
}

int
gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec ts;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
